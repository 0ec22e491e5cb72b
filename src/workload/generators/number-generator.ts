/** Where record numbers, field lengths and scan lengths come from: one draw a call. */
export interface NumberGenerator {
  next(): number;
}
