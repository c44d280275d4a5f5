/* probe: is there a CUDA device?   probe: its name, or why not and status 77.   probe memory: more is asked of it than there is. */
#include <stdio.h>
#include <string.h>

#include "lib/backend.h"

/* A store that no device can hold, then one that any can. */
static int memory(vq_backend *b)
{
	vq_param one = { .name = "w", .ndim = 1, .shape = { 16 }, .count = 16, .trainable = true };
	vq_params p = { .p = &one, .n = 1, .sizes = { 16, (size_t)1 << 44 } };
	vq_store *s;
	vq_status st = b->store_make(b, &p, true, &s);
	if (st != VQ_ENOMEM || !strstr(vq_message(), "out of device memory") || !strstr(vq_message(), "lower pixels_per_step")) {
		printf("not ok - out of device memory: %s\n", st < 0 ? vq_message() : "it was had");
		return 1;
	}
	printf("# %s\n", vq_message());
	p.sizes[1] = 16;
	if (b->store_make(b, &p, true, &s) < 0) {
		printf("not ok - after that: %s\n", vq_message());
		return 1;
	}
	b->store_free(s);
	printf("ok - out of device memory, and on\n");
	return 0;
}

int main(int argc, char **argv)
{
	vq_backend *b;
	if (vq_backend_open(&b, "cuda", 1) < 0) {
		printf("%s\n", vq_message());
		return 77;
	}
	int status = 0;
	if (argc > 1 && !strcmp(argv[1], "memory"))
		status = memory(b);
	else
		printf("%s%s\n", b->isa, b->bf16 ? ", bf16" : "");
	b->close(b);
	return status;
}
