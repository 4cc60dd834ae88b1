// CCCL 3 has dropped these names of CUB. Each stands for what has taken its place. Later releases of PyTorch need none:
// https://github.com/pytorch/pytorch/pull/153373
#pragma once

#include <cub/version.cuh>

#if CUB_VERSION >= 300000

#include <cuda/functional>
#include <cuda/std/functional>
#include <thrust/iterator/constant_iterator.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

namespace at_cuda_detail {
namespace cub {

using Sum = ::cuda::std::plus<>;
using Equality = ::cuda::std::equal_to<>;
using Max = ::cuda::maximum<>;
using Min = ::cuda::minimum<>;

template <typename Value, typename Offset = ::cuda::std::ptrdiff_t>
using CountingInputIterator = THRUST_NS_QUALIFIER::counting_iterator<Value, THRUST_NS_QUALIFIER::use_default, THRUST_NS_QUALIFIER::use_default, Offset>;

template <typename Value, typename Offset = ::cuda::std::ptrdiff_t>
using ConstantInputIterator = THRUST_NS_QUALIFIER::constant_iterator<Value, Offset>;

template <typename Value, typename Conversion, typename Input, typename Offset = ::cuda::std::ptrdiff_t>
using TransformInputIterator = THRUST_NS_QUALIFIER::transform_iterator<Conversion, Input, Value, Value>;

} // namespace cub
} // namespace at_cuda_detail

#endif
