// MPI errors as values. Every MPI call goes through CHECK: with MPI_ERRORS_RETURN on each
// communicator a failure becomes an MpiError with a stable code, the name of the call and MPI's text.
#pragma once

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <string>

namespace baash {

struct MpiError {
  std::string code;  // name of the error class, such as MPI_ERR_TRUNCATE
  std::string call;  // such as MPI_Imrecv
  std::string text;  // what MPI says
};

inline const char* errorClassName(int errorClass) {
  switch (errorClass) {
#define BAASH_NAME(name) \
  case name:             \
    return #name
    BAASH_NAME(MPI_ERR_BUFFER);
    BAASH_NAME(MPI_ERR_COUNT);
    BAASH_NAME(MPI_ERR_TYPE);
    BAASH_NAME(MPI_ERR_TAG);
    BAASH_NAME(MPI_ERR_COMM);
    BAASH_NAME(MPI_ERR_RANK);
    BAASH_NAME(MPI_ERR_REQUEST);
    BAASH_NAME(MPI_ERR_ROOT);
    BAASH_NAME(MPI_ERR_GROUP);
    BAASH_NAME(MPI_ERR_OP);
    BAASH_NAME(MPI_ERR_TOPOLOGY);
    BAASH_NAME(MPI_ERR_DIMS);
    BAASH_NAME(MPI_ERR_ARG);
    BAASH_NAME(MPI_ERR_TRUNCATE);
    BAASH_NAME(MPI_ERR_OTHER);
    BAASH_NAME(MPI_ERR_INTERN);
    BAASH_NAME(MPI_ERR_IN_STATUS);
    BAASH_NAME(MPI_ERR_PENDING);
    BAASH_NAME(MPI_ERR_NO_MEM);
    BAASH_NAME(MPI_ERR_SPAWN);
#undef BAASH_NAME
    default:
      return "MPI_ERR_UNKNOWN";
  }
}

inline MpiError describeError(int result, const char* call) {
  MpiError error;
  int errorClass = MPI_ERR_UNKNOWN;
  MPI_Error_class(result, &errorClass);
  error.code = errorClassName(errorClass);
  // The macro hands in the whole expression: the name ends at the parenthesis.
  error.call = std::string(call).substr(0, std::string(call).find('('));
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(result, text, &length);
  error.text.assign(text, static_cast<size_t>(length));
  return error;
}

inline void checkMpi(int result, const char* call) {
  if (result != MPI_SUCCESS) throw describeError(result, call);
}

}  // namespace baash

#define CHECK(expression) ::baash::checkMpi((expression), #expression)
