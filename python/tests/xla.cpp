/* SPDX-License-Identifier: MIT */
/* That xla.h declares what the headers of the jaxlib that is installed do. It is only compiled. */
#include "../xla.h"

#include <xla/ffi/api/c_api.h>

#define SAME_SIZE(ours, theirs) static_assert(sizeof(xla::ours) == sizeof(theirs), #ours)
#define SAME_BEGINNING(ours, theirs, last, their_last) \
    static_assert(sizeof(xla::ours::last) == sizeof(theirs::their_last) && \
                      offsetof(xla::ours, last) == offsetof(theirs, their_last), \
                  #ours)
#define SAME_VALUE(ours, theirs) static_assert(static_cast<int>(xla::ours) == static_cast<int>(theirs), #ours)

static_assert(XLA_FFI_API_MAJOR == xla::MAJOR);
SAME_SIZE(Extension, XLA_FFI_Extension_Base);
SAME_SIZE(Version, XLA_FFI_Api_Version);
SAME_BEGINNING(Metadata, XLA_FFI_Metadata, traits, traits);
SAME_SIZE(MetadataExtension, XLA_FFI_Metadata_Extension);
SAME_BEGINNING(Buffer, XLA_FFI_Buffer, type, dtype);
SAME_BEGINNING(Buffer, XLA_FFI_Buffer, data, data);
SAME_BEGINNING(Buffer, XLA_FFI_Buffer, dims, dims);
SAME_BEGINNING(Buffers, XLA_FFI_Args, buffers, args);
SAME_BEGINNING(Buffers, XLA_FFI_Rets, buffers, rets);
SAME_SIZE(Name, XLA_FFI_ByteSpan);
SAME_SIZE(Scalar, XLA_FFI_Scalar);
SAME_BEGINNING(Attributes, XLA_FFI_Attrs, names, names);
SAME_BEGINNING(Attributes, XLA_FFI_Attrs, values, attrs);
SAME_BEGINNING(ErrorCreate, XLA_FFI_Error_Create_Args, code, errc);
SAME_BEGINNING(ErrorDestroy, XLA_FFI_Error_Destroy_Args, failure, error);
SAME_BEGINNING(Schedule, XLA_FFI_ThreadPool_Schedule_Args, task, task);
SAME_BEGINNING(Schedule, XLA_FFI_ThreadPool_Schedule_Args, data, data);
SAME_BEGINNING(NumThreads, XLA_FFI_ThreadPool_NumThreads_Args, threads, num_threads);
SAME_BEGINNING(Api, XLA_FFI_Api, version, api_version);
SAME_BEGINNING(Api, XLA_FFI_Api, error_create, XLA_FFI_Error_Create);
SAME_BEGINNING(Api, XLA_FFI_Api, error_destroy, XLA_FFI_Error_Destroy);
SAME_BEGINNING(Api, XLA_FFI_Api, schedule, XLA_FFI_ThreadPool_Schedule);
SAME_BEGINNING(Api, XLA_FFI_Api, num_threads, XLA_FFI_ThreadPool_NumThreads);
SAME_BEGINNING(CallFrame, XLA_FFI_CallFrame, api, api);
SAME_BEGINNING(CallFrame, XLA_FFI_CallFrame, context, ctx);
SAME_BEGINNING(CallFrame, XLA_FFI_CallFrame, stage, stage);
SAME_BEGINNING(CallFrame, XLA_FFI_CallFrame, arguments, args);
SAME_BEGINNING(CallFrame, XLA_FFI_CallFrame, results, rets);
SAME_BEGINNING(CallFrame, XLA_FFI_CallFrame, attributes, attrs);
SAME_VALUE(U8, XLA_FFI_DataType_U8);
SAME_VALUE(F16, XLA_FFI_DataType_F16);
SAME_VALUE(F32, XLA_FFI_DataType_F32);
SAME_VALUE(BF16, XLA_FFI_DataType_BF16);
SAME_VALUE(S32, XLA_FFI_DataType_S32);
SAME_VALUE(S64, XLA_FFI_DataType_S64);
SAME_VALUE(METADATA, XLA_FFI_Extension_Metadata);
SAME_VALUE(SCALAR, XLA_FFI_AttrType_SCALAR);
SAME_VALUE(EXECUTE, XLA_FFI_ExecutionStage_EXECUTE);
SAME_VALUE(INVALID_ARGUMENT, XLA_FFI_Error_Code_INVALID_ARGUMENT);
