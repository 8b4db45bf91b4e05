// The floating-point and vector registers: untouched by system calls, signals and context switches, and fresh in
// a handler as far as the ABI asks for it.
#include "check.h"
#include <fenv.h>

static volatile sig_atomic_t handled;
static volatile uint32_t handler_mxcsr, handler_cwd;

// Overwrites all it can: sigreturn must bring everything back.
static void scribble(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    (void)context;
    uint32_t mxcsr;
    uint16_t cwd;
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(cwd));
    handler_mxcsr = mxcsr;
    handler_cwd = cwd;
    uint64_t junk[4] = {~0UL, ~1UL, ~2UL, ~3UL};
    __asm__ volatile("movdqu %0, %%xmm0; movdqu %0, %%xmm5; movdqu %0, %%xmm8; movdqu %0, %%xmm15; fninit; fldpi; fldpi"
                     : : "m"(junk) : "xmm0", "xmm5", "xmm8", "xmm15", "memory");
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vmovdqu %0, %%ymm0; vmovdqu %0, %%ymm7; vmovdqu %0, %%ymm14" : : "m"(junk)
                         : "xmm0", "xmm7", "xmm14");
    uint32_t other = 0x7f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(other));
    handled++;
}

#define EACH_REGISTER(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define CLOBBERS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                 "xmm12", "xmm13", "xmm14", "xmm15", "memory", "rax", "rcx", "r11", "rdi", "rsi", "rdx"

// Loads a pattern in all registers, does the system call, and stores the registers again.
__attribute__((target("avx"))) static void with_ymm(const uint8_t (*in)[32], uint8_t (*out)[32], long number, long a, long b,
                                                    long c) {
    long arguments[4] = {number, a, b, c};
    __asm__ volatile(
#define LOAD(n) "vmovdqu " #n "*32(%0), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%1)\n\t"
        EACH_REGISTER(LOAD)
        "movq 0(%2), %%rax; movq 8(%2), %%rdi; movq 16(%2), %%rsi; movq 24(%2), %%rdx; syscall\n\t"
        EACH_REGISTER(STORE)
        "vzeroupper"
        : : "r"(in), "r"(out), "r"(arguments) : CLOBBERS);
}

static void with_xmm(const uint8_t (*in)[32], uint8_t (*out)[32], long number, long a, long b, long c) {
    long arguments[4] = {number, a, b, c};
    __asm__ volatile(
#define LOAD_XMM(n) "movdqu " #n "*32(%0), %%xmm" #n "\n\t"
#define STORE_XMM(n) "movdqu %%xmm" #n ", " #n "*32(%1)\n\t"
        EACH_REGISTER(LOAD_XMM)
        "movq 0(%2), %%rax; movq 8(%2), %%rdi; movq 16(%2), %%rsi; movq 24(%2), %%rdx; syscall\n\t"
        EACH_REGISTER(STORE_XMM)
        : : "r"(in), "r"(out), "r"(arguments) : CLOBBERS);
}

static bool have_avx;

static bool kept(uint8_t seed, long number, long a, long b, long c) {
    uint8_t in[16][32], out[16][32];
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 32; j++)
            in[i][j] = (uint8_t)(seed + i * 32 + j);
    memset(out, 0, sizeof out);
    if (have_avx)
        with_ymm(in, out, number, a, b, c);
    else
        with_xmm(in, out, number, a, b, c);
    for (int i = 0; i < 16; i++)
        if (memcmp(in[i], out[i], have_avx ? 32 : 16) != 0)
            return false;
    return true;
}

static _Atomic long mismatches;

static void *keep_switching(void *argument) {
    uint8_t seed = (uint8_t)(long)argument;
    for (int i = 0; i < 2000; i++) {
        if (!kept(seed, SYS_sched_yield, 0, 0, 0))
            mismatches++;
    }
    return NULL;
}

// Computes with different rounding in each thread while others run on the same CPU.
static void *keep_rounding(void *argument) {
    int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    int mode = modes[(long)argument % 4];
    fesetround(mode);
    for (int i = 0; i < 500; i++) {
        sched_yield();
        if (fegetround() != mode)
            mismatches++;
    }
    return NULL;
}

static void *compute(void *argument) {
    // Pure computing, switched only by preemption: the sum is exact if no register is ever lost.
    double sum = 0;
    long double wide = 0;
    for (long i = 1; i <= 3000000; i++) {
        sum += (double)(i % 7);
        wide += (long double)(i % 3);
    }
    *(double *)argument = sum + (double)wide;
    return NULL;
}

int main(void) {
    have_avx = __builtin_cpu_supports("avx");
    IS("kept over getppid", kept(1, SYS_getppid, 0, 0, 0));
    IS("kept over sched_yield", kept(2, SYS_sched_yield, 0, 0, 0));
    IS("kept over a failing call", kept(3, SYS_read, -1, 0, 0));
    IS("kept over an unknown call", kept(4, 5000, 0, 0, 0));
    struct timespec rest = {0, 3000000};
    IS("kept over nanosleep", kept(5, SYS_nanosleep, (long)&rest, 0, 0));
    char *fresh = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    IS("kept over a read that faults pages in", kept(6, SYS_read, zero, (long)fresh, 1 << 16));
    check_catch(SIGUSR1, scribble, 0);
    IS("kept over a signal to oneself", kept(7, SYS_tkill, check_tid(), SIGUSR1, 0));
    VALUE("handled", handled);
    HEX("mxcsr in the handler", handler_mxcsr & 0xffc0);
    HEX("x87 control word in the handler", handler_cwd);
    uint32_t mxcsr;
    uint16_t cwd;
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(cwd));
    HEX("mxcsr afterwards", mxcsr & 0xffc0);
    HEX("x87 control word afterwards", cwd);
    fesetround(FE_UPWARD);
    raise(SIGUSR1);
    IS("rounding mode survives a signal", fegetround() == FE_UPWARD);
    fesetround(FE_TONEAREST);
    long double wide = 1.0L / 3;
    raise(SIGUSR1);
    IS("the x87 stack survives a signal", wide * 3 > 0.999L && wide * 3 < 1.001L);

    pthread_t thread[4];
    for (long i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, keep_switching, (void *)(i * 50 + 11)) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    VALUE("registers lost in 8000 switches", mismatches);
    for (long i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, keep_rounding, (void *)i) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    VALUE("rounding modes lost", mismatches);
    double sums[4] = {0};
    for (long i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, compute, &sums[i]) == 0);
    for (int i = 0; i < 40; i++) {
        for (int j = 0; j < 4; j++)
            pthread_kill(thread[j], SIGUSR1);
        check_sleep_ms(1);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    check_line("sums under signals and preemption", "%.0f %.0f %.0f %.0f", sums[0], sums[1], sums[2], sums[3]);
    fesetround(FE_DOWNWARD);
    REQUIRE(pthread_create(&thread[0], NULL, keep_rounding, (void *)1) == 0);
    pthread_join(thread[0], NULL);
    IS("a thread's rounding is its own", fegetround() == FE_DOWNWARD);
    return 0;
}
