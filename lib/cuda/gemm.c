/* Matrix products of linear layers by cuBLASLt, in f32. It thinks in columns: what is row-major here is turned there, and y = x w becomes
 * y' = w' x'. */
#include "lib/cuda/cuda.h"

#include <string.h>

static const size_t workspace_most = (size_t)1 << 24;

static vq_status blas(cublasStatus_t s, const char *what)
{
	return s == CUBLAS_STATUS_SUCCESS ? VQ_OK : vq_fail(s == CUBLAS_STATUS_ALLOC_FAILED ? VQ_ENOMEM : VQ_EBACKEND, "cuBLASLt: %s: %s", what,
		cublasLtGetStatusString(s));
}

/* A row-major matrix of rows x cols is a column-major one of cols x rows. */
static vq_status layout(cublasLtMatrixLayout_t *l, int rows, int cols)
{
	return blas(cublasLtMatrixLayoutCreate(l, CUDA_R_32F, (uint64_t)cols, (uint64_t)rows, cols), "layout");
}

/* cuBLASLt takes pointers to be aligned to 256 bytes; parameters and values in the arena are to 64. */
static vq_status set_alignment(cublasLtMatmulPreference_t want)
{
	static const cublasLtMatmulPreferenceAttributes_t of[] = { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
		CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES };
	uint32_t bytes = 64;
	for (size_t i = 0; i < VQ_COUNT(of); i++)
		VQ_TRY(blas(cublasLtMatmulPreferenceSetAttribute(want, of[i], &bytes, sizeof bytes), "alignment"));
	return VQ_OK;
}

static vq_status choose(cuda_backend *b, cuda_gemm *g)
{
	cublasLtMatmulPreference_t want = NULL;
	cublasLtMatmulHeuristicResult_t found;
	uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* sums in f32, in one order */
	int n = 0;
	VQ_TRY(blas(cublasLtMatmulPreferenceCreate(&want), "preference"));
	vq_status st = blas(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_most, sizeof workspace_most), "preference");
	if (st == VQ_OK)
		st = blas(cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes), "preference");
	if (st == VQ_OK)
		st = set_alignment(want);
	if (st == VQ_OK)
		st = blas(cublasLtMatmulAlgoGetHeuristic(b->blas, g->op, g->a, g->b, g->c, g->c, want, 1, &found, &n), "heuristics");
	if (st == VQ_OK && n < 1)
		st = vq_fail(VQ_EUNSUP, "cuBLASLt: no algorithm");
	cublasLtMatmulPreferenceDestroy(want);
	if (st < 0)
		return st;
	g->algo = found.algo;
	g->workspace = found.workspaceSize;
	return VQ_OK;
}

vq_status cuda_gemm_make(cuda_backend *b, int m, int n, int k, bool turn_x, bool turn_w, cuda_gemm *g)
{
	cublasOperation_t x = turn_x ? CUBLAS_OP_T : CUBLAS_OP_N, w = turn_w ? CUBLAS_OP_T : CUBLAS_OP_N;
	vq_status st;
	*g = (cuda_gemm){0};
	VQ_TRY_GOTO(st, blas(cublasLtMatmulDescCreate(&g->op, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product"), fail);
	VQ_TRY_GOTO(st, blas(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_TRANSA, &w, sizeof w), "product"), fail);
	VQ_TRY_GOTO(st, blas(cublasLtMatmulDescSetAttribute(g->op, CUBLASLT_MATMUL_DESC_TRANSB, &x, sizeof x), "product"), fail);
	VQ_TRY_GOTO(st, turn_w ? layout(&g->a, n, k) : layout(&g->a, k, n), fail);
	VQ_TRY_GOTO(st, turn_x ? layout(&g->b, k, m) : layout(&g->b, m, k), fail);
	VQ_TRY_GOTO(st, layout(&g->c, m, n), fail);
	VQ_TRY_GOTO(st, choose(b, g), fail);
	return VQ_OK;
fail:
	cuda_gemm_drop(g);
	return vq_context(st, "product of %d x %d and %d x %d", m, k, k, n);
}

vq_status cuda_gemm_run(cuda_backend *b, const cuda_gemm *g, const float *x, const float *w, bool add, float *y, void *workspace)
{
	float one = 1, keep = add ? 1 : 0;
	return blas(cublasLtMatmul(b->blas, g->op, &one, w, g->a, x, g->b, &keep, y, g->c, y, g->c, &g->algo, workspace, g->workspace, b->stream), "product");
}

void cuda_gemm_drop(cuda_gemm *g)
{
	if (g->a)
		cublasLtMatrixLayoutDestroy(g->a);
	if (g->b)
		cublasLtMatrixLayoutDestroy(g->b);
	if (g->c)
		cublasLtMatrixLayoutDestroy(g->c);
	if (g->op)
		cublasLtMatmulDescDestroy(g->op);
	*g = (cuda_gemm){0};
}
