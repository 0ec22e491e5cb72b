/** Ranks meet between phases; who is gone is not waited for, who is new is told. */
import { expect, test } from "bun:test";
import { Meetings } from "../../../src/job/meetings.ts";

function create(present: number[]) {
  const announced: number[] = [];
  const meetings = new Meetings({
    process: 0,
    participants: [0, 1, 2],
    present: () => present,
    announce: (number) => announced.push(number),
  });
  let met = 0;
  const meet = () => void meetings.meet().then(() => met++);
  return { meetings, announced, meet, met: () => met };
}

const settle = () => new Promise(setImmediate);

test("ends when every participant that is a member has come as often", async () => {
  const { meetings, meet, met, announced } = create([0, 1, 2, 7]);
  meet();
  meetings.came(1, 1);
  await settle();
  expect(met()).toBe(0);
  meetings.came(2, 1);
  await settle();
  expect(met()).toBe(1);
  expect(announced).toEqual([1]);
});

test("who came before this rank did is not forgotten", async () => {
  const { meetings, meet, met } = create([0, 1, 2]);
  meetings.came(1, 2);
  meetings.came(2, 1);
  meet();
  await settle();
  expect(met()).toBe(1);
});

test("who left is not waited for; who is there hears of it again", async () => {
  const present = [0, 1, 2];
  const { meetings, meet, met, announced } = create(present);
  meet();
  meetings.came(1, 1);
  present.pop();
  meetings.membersChanged();
  await settle();
  expect(met()).toBe(1);
  expect(announced).toEqual([1, 1]);
});
