// CPU time, in nanoseconds, of four of PyTorch's operators that are compiled once, outside its dispatch by
// instruction set. Each line: the operator, then one number per repetition.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>

namespace at::native {
// What isa_gain.py compiles beside this file; the definitions in libtorch_cpu.so stay unused.
Tensor im2col_cpu(const Tensor&, IntArrayRef, IntArrayRef, IntArrayRef, IntArrayRef);
std::tuple<Tensor, Tensor> ctc_loss_cpu(
    const Tensor&, const Tensor&, IntArrayRef, IntArrayRef, int64_t, bool);
Tensor bucketize_cpu(const Tensor&, const Tensor&, bool, bool);
Tensor grid_sampler_3d_cpu(const Tensor&, const Tensor&, int64_t, int64_t, bool);
} // namespace at::native

static long now() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void measure(const char* name, int repetitions, const std::function<at::Tensor()>& run) {
  double sum = run().sum().item<double>();
  std::printf("%s", name);
  for (int i = 0; i < repetitions; i++) {
    long start = now();
    at::Tensor result = run();
    std::printf(" %ld", now() - start);
  }
  // The result, so that a build that computes something else is seen.
  std::printf(" = %.6g\n", sum);
}

int main(int, char** arguments) {
  c10::InferenceMode inference;
  const int repetitions = std::atoi(arguments[1]);
  at::set_num_threads(1);
  at::manual_seed(0);
  const auto image = at::rand({8, 16, 64, 64});
  measure("im2col", repetitions, [&] {
    return at::native::im2col_cpu(image, {3, 3}, {1, 1}, {1, 1}, {1, 1});
  });
  const auto logits = at::rand({100, 16, 32}).log_softmax(2);
  const auto targets = at::randint(1, 32, {16, 30}, at::kLong);
  const std::vector<int64_t> inputs(16, 100), lengths(16, 30);
  measure("ctc_loss", repetitions, [&] {
    return std::get<0>(at::native::ctc_loss_cpu(logits, targets, inputs, lengths, 0, false));
  });
  const auto boundaries = at::linspace(0, 1, 1000), values = at::rand({200000});
  measure("bucketize", repetitions, [&] { return at::native::bucketize_cpu(values, boundaries, false, false); });
  const auto volume = at::rand({2, 8, 24, 24, 24}), grid = at::rand({2, 24, 24, 24, 3}) * 2 - 1;
  measure("grid_sampler_3d", repetitions, [&] {
    return at::native::grid_sampler_3d_cpu(volume, grid, 0, 0, false);
  });
}
