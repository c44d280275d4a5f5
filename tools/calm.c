#include "tools/calm.h"

#include <stdlib.h>
#include <unistd.h>

void vq_calm(char **argv)
{
	if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("GOMP_SPINCOUNT", "10000", 1))
		return;
	execv("/proc/self/exe", argv); /* where that is not possible, it runs as it is */
}
