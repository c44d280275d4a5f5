# vq: build, test, demo. `make demo` and `make check` are all that a new user needs; `make help` lists the rest.
#   BUILD=build           where objects and programs go
#   WERROR=1              warnings are errors (what `make check` uses)
#   SAN=1                 AddressSanitizer and UndefinedBehaviorSanitizer
#   CUDA=0                no CUDA backend; CUDA=1: it must be built; else when nvcc and cuDNN 9 are found (CUDA_HOME=/usr/local/cuda;
#                         CUDNN_HOME, CUBLAS_HOME: where include and lib of these are, else looked for there and among python3's packages)
#   CUDA_ARCHS=90         the devices that it holds code for; others from 7.5 on translate it once, when they first run it. For a package:
#                         CUDA_ARCHS=all
#   PREFIX=/usr/local DESTDIR=
SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:

CC      ?= gcc
PREFIX  ?= /usr/local
BUILD   ?= build
OUT     ?= out/demo
CFLAGS  ?= -O3 -g
MARCH   ?=
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -Wno-missing-field-initializers
ifeq ($(WERROR),1)
WARN    += -Werror
endif
ifeq ($(SAN),1)
CFLAGS  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif

# OpenBLAS is the OpenMP build: one thread pool for oneDNN, BLAS and our own loops.
BLAS_DIRS := $(wildcard /usr/include/*-linux-gnu/openblas-openmp)
BLAS_INC  := $(addprefix -I,$(BLAS_DIRS))
BLAS_LIB  := $(addprefix -L,$(wildcard /usr/lib/*-linux-gnu/openblas-openmp)) -lopenblas
HDF5_INC  := $(addprefix -I,$(wildcard /usr/include/hdf5/serial))
HDF5_LIB  := $(addprefix -L,$(wildcard /usr/lib/*-linux-gnu/hdf5/serial)) -lhdf5
# What libtiff itself decodes with, when its header is there too.
DEFLATE   := $(wildcard /usr/include/libdeflate.h /usr/include/*-linux-gnu/libdeflate.h /usr/local/include/libdeflate.h)

CPPFLAGS += $(if $(DEFLATE),-DVQ_LIBDEFLATE)
CPPFLAGS += -I. -D_GNU_SOURCE $(BLAS_INC) $(HDF5_INC)
ALLC     := -std=c11 -fopenmp -fno-math-errno -ffp-contract=fast $(WARN) $(CPPFLAGS) $(CFLAGS) $(MARCH) -MMD -MP
LDFLAGS  += -fopenmp -Wl,--as-needed
LDLIBS   := -ldnnl $(BLAS_LIB) -ltiff -lpng $(if $(DEFLATE),-ldeflate) -lzstd -lcjson $(HDF5_LIB) -lz -lm -lpthread -ldl

# The CUDA backend is a file of its own, which the programs load when they are asked for it; it takes what it needs of lib from them.
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null)))
NVCC      ?= $(CUDA_HOME)/bin/nvcc
# cuDNN and cuBLAS may also have come as packages of python3's, with libraries under their versions' names alone.
NVIDIA    := $(wildcard $(patsubst %/bin/python3,%,$(shell command -v python3 2>/dev/null))/lib/python3*/*-packages/nvidia)
CUDNN_H   := $(firstword $(if $(CUDNN_HOME),$(wildcard $(CUDNN_HOME)/include/cudnn.h),$(wildcard $(CUDA_HOME)/include/cudnn.h /usr/include/cudnn.h /usr/include/*-linux-gnu/cudnn.h \
             $(addsuffix /cudnn/include/cudnn.h,$(NVIDIA)))))
CUDNN_HOME  ?= $(patsubst %/include/cudnn.h,%,$(filter $(addsuffix /%,$(NVIDIA)),$(CUDNN_H)))
CUBLAS_HOME ?= $(if $(wildcard $(CUDA_HOME)/include/cublasLt.h /usr/include/cublasLt.h),,$(firstword $(patsubst %/include/cublasLt.h,%,$(wildcard $(addsuffix /*/include/cublasLt.h,$(NVIDIA))))))
PART_OF    = $(if $(1),-L$(1)/lib -Wl$(comma)-rpath$(comma)$(1)/lib $(firstword $(patsubst $(1)/lib/%,-l:%,$(wildcard $(1)/lib/lib$(2).so.*)) -l$(2)),-l$(2))
comma     := ,
ifeq ($(origin CUDA),undefined)
CUDA      := $(if $(SAN),0,$(if $(wildcard $(NVCC)),$(if $(CUDNN_H),1,0),0))
endif
CUDA_SRC  := $(wildcard lib/cuda/*.c)
ifeq ($(CUDA),1)
CUDA_LIB  := $(BUILD)/lib/vq/libvq_cuda.so
LDFLAGS   += -rdynamic
endif

LIB_SRC   := $(filter-out $(CUDA_SRC),$(wildcard lib/*.c lib/*/*.c formats/*.c)) $(filter-out $(wildcard tools/vq-*.c),$(wildcard tools/*.c))
TOOL_SRC  := $(wildcard tools/vq-*.c)
UNIT_SRC  := $(wildcard tests/unit/test_*.c)
UNIT_AUX  := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
BENCH_SRC := $(wildcard tests/bench/*.c)

TOOLS := $(TOOL_SRC:tools/%.c=$(BUILD)/bin/%)
UNITS := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
BENCH := $(BENCH_SRC:tests/bench/%.c=$(BUILD)/bench/%)
OBJ    = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

.PHONY: all
all: $(TOOLS) $(CUDA_LIB)
ifneq ($(CUDA),1) # one of an earlier build would be loaded
	@rm -f $(BUILD)/lib/vq/libvq_cuda.so
endif

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) -c -o $@ $<

# The loops of lib/cpu/kernels.c, once an instruction set; which one runs is decided at run time.
ifeq ($(shell uname -m),x86_64)
KERNELS   := v3 v4
CONVS     := v3 v4 v5
endif
KERNEL_OBJ := $(addprefix $(BUILD)/obj/lib/cpu/kernels_,$(addsuffix .o,base $(KERNELS))) $(foreach k,wino strip,$(addprefix $(BUILD)/obj/lib/cpu/$(k)_,$(addsuffix .o,$(CONVS))))
LIB_SRC    := $(filter-out lib/cpu/kernels.c lib/cpu/wino_kernels.c lib/cpu/strip_kernels.c,$(LIB_SRC))
KERNEL_FLAGS := -fno-trapping-math -fno-signed-zeros -fassociative-math -O3
$(BUILD)/obj/lib/cpu/kernels_base.o: lib/cpu/kernels.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) $(KERNEL_FLAGS) -DVQ_KERNELS=vq_kernels_base -DVQ_KERNELS_NAME='"base"' -c -o $@ $<
$(BUILD)/obj/lib/cpu/kernels_v3.o: lib/cpu/kernels.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) $(KERNEL_FLAGS) -march=x86-64-v3 -DVQ_KERNELS=vq_kernels_v3 -DVQ_KERNELS_NAME='"avx2"' -c -o $@ $<
$(BUILD)/obj/lib/cpu/kernels_v4.o: lib/cpu/kernels.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) $(KERNEL_FLAGS) -march=x86-64-v4 -mprefer-vector-width=512 -DVQ_KERNELS=vq_kernels_v4 -DVQ_KERNELS_NAME='"avx512"' -c -o $@ $<
# The convolutions of lib/cpu/wino_kernels.c and strip_kernels.c likewise; v5 has bf16.
CONV_v3 := -march=x86-64-v3
CONV_v4 := -march=x86-64-v4 -mprefer-vector-width=512
CONV_v5 := -march=x86-64-v4 -mprefer-vector-width=512 -mavx512bf16
$(BUILD)/obj/lib/cpu/wino_v%.o: lib/cpu/wino_kernels.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) -O3 -fno-trapping-math -fno-signed-zeros $(CONV_v$*) -DLEVEL=v$* -c -o $@ $<
$(BUILD)/obj/lib/cpu/strip_v%.o: lib/cpu/strip_kernels.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) -O3 -fno-trapping-math -fno-signed-zeros $(CONV_v$*) -DLEVEL=v$* -c -o $@ $<

# What a bare CUDA machine can build: the library without the CPU backend, and the programs that test and time the CUDA backend.
ifeq ($(GPU_MIN),1)
ALLC       += -DVQ_NO_CPU
LIB_SRC    := $(filter-out $(CUDA_SRC) lib/cpu/%,$(wildcard lib/*.c lib/*/*.c))
KERNEL_OBJ :=
LDLIBS     := -lm -lpthread -ldl
UNIT_AUX   := $(addprefix tests/unit/,engine.c naive.c slopes.c) $(wildcard tests/unit/ref*.c)
endif

# An archive, so that a filter links only what it uses.
$(BUILD)/libvq.a: $(call OBJ,$(LIB_SRC)) $(KERNEL_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/bin/%: $(BUILD)/obj/tools/%.o $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(call OBJ,$(UNIT_AUX)) $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The CUDA kernels on the host (lib/cuda/emulate.h), for the tests that run them.
CXX      ?= g++
EMULATED := $(patsubst %.cu,$(BUILD)/emulated/%.o,$(wildcard lib/cuda/*.cu))
$(BUILD)/emulated/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ -std=c++17 -fno-strict-aliasing -fno-exceptions -fno-rtti $(filter-out -Wstrict-prototypes -Wmissing-prototypes,$(WARN)) \
	    -Wno-unknown-pragmas -Wno-uninitialized -Wno-maybe-uninitialized $(CPPFLAGS) $(CFLAGS) -fPIC -O1 -MMD -MP -c -o $@ $<
$(BUILD)/unit/test_cuda_%: $(BUILD)/obj/tests/unit/test_cuda_%.o $(EMULATED) $(call OBJ,$(UNIT_AUX)) $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# --- CUDA ---------------------------------------------------------------------------------------------------------
GPU_UNITS  := $(patsubst %.c,%,$(notdir $(wildcard tests/unit/test_ops_*.c))) test_graph test_again test_alike test_state test_train $(if $(GPU_MIN),,test_model test_train_out test_refit test_perceptual)
CUDA_ARCHS ?= 90
CUDA_ALL    = $(filter $(patsubst sm_%,%,$(shell $(NVCC) --list-gpu-code)),75 80 86 89 90 100)
CUDA_CODE   = $(foreach a,$(if $(filter all,$(CUDA_ARCHS)),$(CUDA_ALL),$(CUDA_ARCHS)),-gencode arch=compute_$(a),code=sm_$(a)) -gencode arch=compute_75,code=compute_75
CUDA_OBJ   := $(CUDA_SRC:%.c=$(BUILD)/cuda/%.o)
CUDA_DIR   := -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64
CUDA_INC   := $(addprefix -isystem ,$(addsuffix /include,$(CUDNN_HOME) $(CUBLAS_HOME) $(CUDA_HOME)))
CUDNN_LIB  := $(call PART_OF,$(CUDNN_HOME),cudnn)
CUDA_LIBS  := $(CUDNN_LIB) $(call PART_OF,$(CUBLAS_HOME),cublasLt) $(CUDA_DIR) -lcudart_static -lrt -lpthread -ldl
$(BUILD)/cuda/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLC) -fPIC $(if $(filter tests/gpu/driver.c,$<),,-fvisibility=hidden) $(CUDA_INC) -c -o $@ $<
$(BUILD)/cuda/archs: force # changes only when the list does
	@mkdir -p $(@D)
	@echo '$(CUDA_ARCHS)' | cmp -s - $@ || echo '$(CUDA_ARCHS)' > $@
.PHONY: force
$(BUILD)/cuda/%.o: %.cu $(BUILD)/cuda/archs
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 -lineinfo $(CUDA_CODE) $(if $(filter 1,$(WERROR)),-Werror all-warnings) -Xcompiler -fPIC,-fvisibility=hidden,-Wall \
	    $(CPPFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/lib/vq/libvq_cuda.so: $(CUDA_OBJ) $(patsubst %.cu,$(BUILD)/cuda/%.o,$(wildcard lib/cuda/*.cu))
	@mkdir -p $(@D)
	$(CXX) -shared -o $@ $^ $(CUDA_LIBS)

# The whole backend on the host: the same tests of the engine that make check-gpu puts to a device. They find the backend beside them.
HOST_CUDA  := $(addprefix $(BUILD)/cuda/tests/,gpu/host.o gpu/streams.o unit/fibres.o)
HOST_UNITS := $(addprefix $(BUILD)/emulated/unit/,$(GPU_UNITS))
$(BUILD)/emulated/lib/vq/libvq_cuda.so: $(addprefix $(BUILD)/cuda/,lib/cuda/store.o lib/cuda/plan.o lib/cuda/transfer.o lib/cuda/nodes.o lib/cuda/spec.o lib/cuda/pictures.o) $(HOST_CUDA) $(EMULATED)
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) -shared -o $@ $^
$(BUILD)/emulated/driver/libcuda.so.1: $(BUILD)/cuda/tests/gpu/driver.o
	@mkdir -p $(@D)
	$(CC) -shared -o $@ $^
$(BUILD)/gpu/%: $(BUILD)/obj/tests/gpu/%.o $(call OBJ,$(UNIT_AUX)) $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# Our kernels, timed by themselves; on the host that they run at all.
$(BUILD)/gpu/kernels: $(BUILD)/cuda/tests/gpu/kernels.o $(patsubst %.cu,$(BUILD)/cuda/%.o,$(wildcard lib/cuda/*.cu)) $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(CUDA_DIR) -lcudart_static -lrt $(LDLIBS)
$(BUILD)/emulated/gpu/kernels: $(BUILD)/cuda/tests/gpu/kernels.o $(HOST_CUDA) $(EMULATED) $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# The operation graphs of the models' convolutions, made by cuDNN without a device.
$(BUILD)/gpu/graphs: $(BUILD)/cuda/tests/gpu/graphs.o $(BUILD)/cuda/lib/cuda/conv.o $(BUILD)/cuda/lib/cuda/spec.o $(BUILD)/libvq.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDNN_LIB) $(CUDA_DIR) -lcudart_static -lrt
$(BUILD)/emulated/unit/%: $(BUILD)/unit/%
	@mkdir -p $(@D)
	cp $< $@
$(BUILD)/emulated/bench/%: $(BUILD)/bench/%
	@mkdir -p $(@D)
	cp $< $@

.PHONY: units bench-programs
units: $(UNITS) $(if $(CUDA_LIB),$(BUILD)/gpu/graphs $(HOST_UNITS) $(addprefix $(BUILD)/emulated/,bench/steps gpu/kernels lib/vq/libvq_cuda.so driver/libcuda.so.1))
bench-programs: $(BENCH)

-include $(shell find $(BUILD)/obj $(BUILD)/emulated $(BUILD)/cuda -name '*.d' 2>/dev/null)
.SECONDARY:

# --- what a machine needs -----------------------------------------------------------------------------------------
DEPS := libtiff-dev libpng-dev libzstd-dev libcjson-dev libopenblas-openmp-dev libdnnl-dev libhdf5-dev zlib1g-dev \
        gnuplot-nox bats zstd unzip man-db g++
.PHONY: deps
deps:
	@missing=$$(for p in $(DEPS); do case "$$(dpkg-query -W -f '$${Status}' $$p 2>/dev/null)" in *' installed') ;; *) \
	    [ $$p = gnuplot-nox ] && command -v gnuplot >/dev/null || echo $$p;; esac; done); \
	if [ -n "$$missing" ]; then \
	    command -v apt-get >/dev/null || { echo "make deps: please install:" $$missing >&2; exit 1; }; \
	    sudo=; [ $$(id -u) = 0 ] || sudo=sudo; \
	    echo "make deps: installing" $$missing; \
	    $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

# --- the main job -------------------------------------------------------------------------------------------------
.PHONY: demo
demo: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@PATH="$(abspath $(BUILD)/bin):$$PATH" LOAD_DATA="$(LOAD_DATA)" TIME="$(TIME)" OUT="$(OUT)" CROP="$(CROP)" TRAIN="$(TRAIN)" CONFIG="$(CONFIG)" CELLS="$(CELLS)" pipelines/demo

# MODEL=model.safetensors DATA=cells.vqt or load_data.csv: figures, pictures and OUT/report.html.
.PHONY: evaluate
evaluate: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@PATH="$(abspath $(BUILD)/bin):$$PATH" MODEL="$(MODEL)" DATA="$(DATA)" OUT="$(if $(filter file,$(origin OUT)),out/evaluation,$(OUT))" PART="$(PART)" GROUP="$(GROUP)" CROP="$(CROP)" TITLE="$(TITLE)" pipelines/evaluate

# The cells that MODEL never saw, through its codes and through JPEG XL, JPEG 2000, WebP and PNG (installed when they are missing).
.PHONY: codecs
codecs: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@PATH="$(abspath $(BUILD)/bin):$$PATH" MODEL="$(MODEL)" DATA="$(DATA)" OUT="$(if $(filter file,$(origin OUT)),out/codecs,$(OUT))" SEPARATE="$(SEPARATE)" pipelines/codecs

# What the codecs' test needs; without them it is skipped.
.PHONY: codec-deps
codec-deps: deps
	@pipelines/codecs deps || echo "make: the image codecs could not be installed: their test will be skipped" >&2

# The reference document's table, measured: TIME for each of its models.
.PHONY: compare
compare: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all
	@PATH="$(abspath $(BUILD)/bin):$$PATH" LOAD_DATA="$(LOAD_DATA)" TIME="$(TIME)" OUT="$(if $(filter file,$(origin OUT)),out/compare,$(OUT))" \
	    CROP="$(CROP)" TRAIN="$(TRAIN)" CELLS="$(CELLS)" VGG19="$(VGG19)" WITHIN="$(WITHIN)" MODELS="$(MODELS)" pipelines/compare

# --- tests --------------------------------------------------------------------------------------------------------
.PHONY: check check-long check-oracle asan fuzz bench bench-steps
check: deps codec-deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) WERROR=1 BUILD=$(BUILD)/check all units
	@$(MAKE) --no-print-directory -s -j$$(nproc) WERROR=1 SAN=1 BUILD=$(BUILD)/asan units $(BUILD)/asan/bin/vq-crop
	@tests/run $(BUILD)/check $(BUILD)/asan

check-long: deps codec-deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) WERROR=1 BUILD=$(BUILD)/check all units
	@$(MAKE) --no-print-directory -s -j$$(nproc) WERROR=1 SAN=1 BUILD=$(BUILD)/asan all units
	@VQ_LONG=1 tests/run $(BUILD)/check $(BUILD)/asan

# What the CUDA kernels take of a device, without one: registers and spills, for each of PTXAS_ARCHS that nvcc knows.
NVCC ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
PTXAS_ARCHS ?= 75 80 90 100
PTXAS_KNOWN  = $(filter $(patsubst sm_%,%,$(shell $(NVCC) --list-gpu-code 2>/dev/null)),$(PTXAS_ARCHS))
PTXAS_NAMES := $(patsubst lib/cuda/%.cu,%,$(wildcard lib/cuda/*.cu))
.PHONY: ptxas
ptxas:
	@[ -x "$(NVCC)" ] || { echo "make ptxas: there is no nvcc" >&2; exit 1; }
	@$(MAKE) --no-print-directory -s $(foreach a,$(PTXAS_KNOWN),$(addprefix $(BUILD)/ptxas/sm_$(a)-,$(addsuffix .txt,$(PTXAS_NAMES))))
	@tests/ptxas-limits $(foreach a,$(PTXAS_KNOWN),$(addprefix $(BUILD)/ptxas/sm_$(a)-,$(addsuffix .txt,$(PTXAS_NAMES))))

define PTXAS
$(BUILD)/ptxas/sm_$(1)-%.txt: lib/cuda/%.cu $(wildcard lib/cuda/*.h) lib/backend.h
	@mkdir -p $$(@D)
	$(NVCC) -std=c++17 -O3 -arch=sm_$(1) -cubin -Werror all-warnings -Xptxas -v -I. -o $$(@:.txt=.cubin) $$< 2> $$@ || { cat $$@ >&2; exit 1; }
endef
$(foreach a,$(PTXAS_ARCHS),$(eval $(call PTXAS,$(a))))

# PYTHON: an interpreter with numpy, scikit-image, tifffile (and torch, anndata for their parts). REQUIRE=1: a skip is a failure.
PYTHON ?= python3
check-oracle: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all $(BUILD)/unit/test_parity
	@PATH="$(abspath $(BUILD)/bin):$$PATH" VQ_UNITS="$(BUILD)/unit" PYTHON="$(PYTHON)" REQUIRE="$(REQUIRE)" tests/oracle/run

asan: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) WERROR=1 SAN=1 BUILD=$(BUILD)/asan all units
	@tests/run '' $(BUILD)/asan

bench: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) all bench-programs
	@PATH="$(abspath $(BUILD)/bin):$$PATH" BUILD="$(BUILD)" TORCH_PYTHON="$(TORCH_PYTHON)" BENCH_JSON="$(BENCH_JSON)" tests/bench/run

bench-steps: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) bench-programs
	@BUILD="$(BUILD)" TORCH_PYTHON="$(TORCH_PYTHON)" tests/bench/run-steps

# Tests and timings of the CUDA backend on a device. GPU_MIN=1: of what gpu-min builds, which needs no library but CUDA's and cuDNN.
.PHONY: gpu-min check-gpu bench-gpu
GPU_BUILD := $(BUILD)/$(if $(GPU_MIN),gpu-min,check)
GPU_PARTS := $(addprefix $(GPU_BUILD)/,$(addprefix unit/,$(GPU_UNITS)) gpu/probe gpu/ops gpu/kernels bench/steps lib/vq/libvq_cuda.so $(if $(GPU_MIN),,bin/vq-synth bin/vq-normalize bin/vq-train))
gpu-min:
	@$(MAKE) --no-print-directory -s GPU_MIN=1 CUDA=1 BUILD=$(BUILD) gpu-parts
.PHONY: gpu-parts
gpu-parts:
	@$(MAKE) --no-print-directory -s -j$$(nproc) CUDA=1 BUILD=$(GPU_BUILD) $(GPU_PARTS)
# CUDA=1: what else would be skipped fails.
check-gpu bench-gpu: %-gpu: force
	@if [ "$(CUDA)" != 1 ]; then echo "$@: skipped: nvcc and cuDNN are not there"; exit 0; fi; \
	[ -n "$(CUDNN_H)" ] && [ -x "$(NVCC)" ] || { echo "$@: nvcc and cuDNN 9 are needed (CUDA_HOME, CUDNN_HOME)" >&2; exit 1; }; \
	$(MAKE) --no-print-directory -s BUILD=$(BUILD) gpu-parts && BUILD="$(GPU_BUILD)" UNITS="$(GPU_UNITS)" MAKE="$(MAKE)" TORCH_PYTHON="$(TORCH_PYTHON)" \
	    REQUIRED="$(if $(filter command environment,$(firstword $(origin CUDA))),1)" tests/gpu/$*

fuzz: deps
	@$(MAKE) --no-print-directory -s -j$$(nproc) WERROR=1 SAN=1 BUILD=$(BUILD)/asan all
	@tests/fuzz/run $(BUILD)/asan

# --- documents ----------------------------------------------------------------------------------------------------
.PHONY: man install uninstall clean help
man: all
	@for t in $(TOOLS); do tests/man-options $$t man/$$(basename $$t).1; done

install: all
	$(if $(CUDA_LIB),,rm -f $(DESTDIR)$(PREFIX)/lib/vq/libvq_cuda.so)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man{1,5,7} $(DESTDIR)$(PREFIX)/share/vq/configs $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install $(TOOLS) $(DESTDIR)$(PREFIX)/bin
	$(if $(CUDA_LIB),install -D $(CUDA_LIB) $(DESTDIR)$(PREFIX)/lib/vq/libvq_cuda.so)
	install -m 644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 man/*.7 $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 644 configs/*.json $(DESTDIR)$(PREFIX)/share/vq/configs
	for t in $(TOOLS); do $$t --help=complete > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$(basename $$t); done

uninstall:
	for t in $(notdir $(TOOLS)); do rm -f $(DESTDIR)$(PREFIX)/bin/$$t $(DESTDIR)$(PREFIX)/share/man/man1/$$t.1 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$t; done
	for p in $(notdir $(wildcard man/*.5)); do rm -f $(DESTDIR)$(PREFIX)/share/man/man5/$$p; done
	for p in $(notdir $(wildcard man/*.7)); do rm -f $(DESTDIR)$(PREFIX)/share/man/man7/$$p; done
	rm -rf $(DESTDIR)$(PREFIX)/share/vq $(DESTDIR)$(PREFIX)/lib/vq

clean:
	rm -rf $(BUILD)

help:
	@echo "make demo [LOAD_DATA='a.csv b.csv'] [TIME=60s] [OUT=dir] [CROP='options']   the main job"
	@echo "make evaluate MODEL=model.safetensors DATA=cells.vqt [OUT=dir]   a report for people: OUT/report.html"
	@echo "make ptxas [PTXAS_ARCHS='75 90']   registers and spills of the CUDA kernels, held to limits"
	@echo "make compare [LOAD_DATA=... TIME=120s OUT=dir VGG19=file]   the reference document's table, measured"
	@echo "make codecs [MODEL=model.safetensors DATA=cells.vqt OUT=dir]   codes beside JPEG XL, JPEG 2000, WebP and PNG"
	@echo "make check | check-long | asan | fuzz | bench | bench-steps   tests and timings"
	@echo "make check-oracle PYTHON=python3 [REQUIRE=1]   compared with Python's libraries; REQUIRE=1: a library that is missing is a failure"
	@echo "make check-gpu | bench-gpu [GPU_MIN=1] | gpu-min   the CUDA backend on a device"
	@echo "make all | install | uninstall | clean | man | deps"
