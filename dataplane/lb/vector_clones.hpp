// SPDX-License-Identifier: BSD-3-Clause
// WEIR_VECTOR_CLONES: a function is built for AVX-512, AVX2 and neither, and the loader takes what
// the processor has. Not under the thread sanitizer, which is called by the loader's choice before
// it has begun (https://github.com/google/sanitizers/issues/342).
#pragma once

#ifdef __SANITIZE_THREAD__
#define WEIR_VECTOR_CLONES
#else
#define WEIR_VECTOR_CLONES [[gnu::target_clones("avx512f", "avx2", "default")]]
#endif
