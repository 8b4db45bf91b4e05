//! The table of system calls: number, handler, arguments. It makes the dispatcher and what the trace shows.

use core::fmt::{self, Write};

use linux_abi::{
    event::{EpollEvent, PollFd},
    file::{Stat, Statfs, Statx},
    process::{Rlimit, Rusage, Sysinfo, Utsname},
    signal::{SigAction, SigInfo, StackT},
    socket::{MMsgHdr, MsgHdr},
    time::{Itimerspec, Itimerval, Timespec, Timeval, Tms},
};

use super::{
    Argument, Result, UserString, credentials, directory, epoll, event, fd, file, futex, info, inotify, lock,
    memory, mount, name, pipe, policy, poll, process, random, schedule, signals, socket, splice, stat,
    thread, time, timer, xattr,
};
use crate::user::UserPtr;

macro_rules! syscalls {
    ($($number:literal => $module:ident :: $handler:ident ( $($argument:ident : $kind:ty),* );)*) => {
        /// Calls the handler of `number`; `None` if there is none.
        pub fn dispatch(number: u64, registers: [u64; 6]) -> Option<Result> {
            let mut registers = registers.into_iter();
            let mut next = || registers.next().unwrap_or(0);
            Some(match number {
                $($number => $module::$handler($(<$kind as Argument>::from_register({ let $argument = next(); $argument })),*),)*
                _ => return None,
            })
        }

        /// Writes the call as `strace(1)` would.
        pub fn show(number: u64, registers: &[u64; 6], out: &mut dyn Write) -> fmt::Result {
            match name(number) {
                Some(name) => write!(out, "{name}(")?,
                None => write!(out, "syscall_{number:#x}(")?,
            }
            let mut registers = registers.iter();
            let mut first = true;
            let mut separate = |out: &mut dyn Write| {
                let result = if first { Ok(()) } else { out.write_str(", ") };
                first = false;
                result
            };
            match number {
                $($number => {
                    $(
                        separate(out)?;
                        let $argument = <$kind as Argument>::from_register(*registers.next().unwrap_or(&0));
                        $argument.show(out)?;
                    )*
                })*
                _ => for register in registers {
                    separate(out)?;
                    write!(out, "{register:#x}")?;
                },
            }
            let _ = &mut separate;
            out.write_str(")")
        }
    };
}

syscalls! {
    0 => file::sys_read(fd: i32, buffer: u64, len: usize);
    1 => file::sys_write(fd: i32, buffer: u64, len: usize);
    2 => file::sys_open(path: UserString, flags: u32, mode: u32);
    3 => fd::sys_close(fd: i32);
    4 => stat::sys_stat(path: UserString, into: UserPtr<Stat>);
    5 => stat::sys_fstat(fd: i32, into: UserPtr<Stat>);
    6 => stat::sys_lstat(path: UserString, into: UserPtr<Stat>);
    7 => poll::sys_poll(fds: UserPtr<PollFd>, count: u32, timeout_ms: i32);
    8 => file::sys_lseek(fd: i32, distance: i64, whence: u32);
    9 => memory::sys_mmap(address: usize, len: usize, prot: u32, flags: u32, fd: i32, offset: u64);
    10 => memory::sys_mprotect(address: usize, len: usize, prot: u32);
    11 => memory::sys_munmap(address: usize, len: usize);
    12 => memory::sys_brk(address: usize);
    13 => signals::sys_rt_sigaction(signal: u32, new: UserPtr<SigAction>, old: UserPtr<SigAction>, set_size: usize);
    14 => signals::sys_rt_sigprocmask(how: u32, set: UserPtr<u64>, old: UserPtr<u64>, set_size: usize);
    16 => fd::sys_ioctl(fd: i32, request: u32, argument: u64);
    17 => file::sys_pread64(fd: i32, buffer: u64, len: usize, offset: i64);
    18 => file::sys_pwrite64(fd: i32, buffer: u64, len: usize, offset: i64);
    19 => file::sys_readv(fd: i32, vector: UserPtr<[u64; 2]>, count: usize);
    20 => file::sys_writev(fd: i32, vector: UserPtr<[u64; 2]>, count: usize);
    21 => stat::sys_access(path: UserString, mode: u32);
    22 => pipe::sys_pipe(descriptors: UserPtr<[i32; 2]>);
    23 => poll::sys_select(descriptors: i32, read: UserPtr<u64>, write: UserPtr<u64>, except: UserPtr<u64>, timeout: UserPtr<Timeval>);
    24 => schedule::sys_sched_yield();
    25 => memory::sys_mremap(old: usize, old_len: usize, new_len: usize, flags: u32, new: usize);
    26 => memory::sys_msync(address: usize, len: usize, flags: u32);
    27 => memory::sys_mincore(address: usize, len: usize, answers: UserPtr<u8>);
    28 => memory::sys_madvise(address: usize, len: usize, advice: u32);
    32 => fd::sys_dup(fd: i32);
    33 => fd::sys_dup2(fd: i32, new: i32);
    34 => signals::sys_pause();
    35 => time::sys_nanosleep(duration: UserPtr<Timespec>, remaining: UserPtr<Timespec>);
    36 => timer::sys_getitimer(which: u32, into: UserPtr<Itimerval>);
    37 => timer::sys_alarm(seconds: u32);
    38 => timer::sys_setitimer(which: u32, new: UserPtr<Itimerval>, old: UserPtr<Itimerval>);
    39 => process::sys_getpid();
    40 => file::sys_sendfile(to: i32, from: i32, offset: UserPtr<i64>, count: usize);
    41 => socket::sys_socket(family: i32, kind: u32, protocol: i32);
    42 => socket::sys_connect(fd: i32, address: UserPtr<u8>, len: i32);
    43 => socket::sys_accept(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>);
    44 => socket::sys_sendto(fd: i32, buffer: u64, len: usize, flags: u32, address: UserPtr<u8>, address_len: i32);
    45 => socket::sys_recvfrom(fd: i32, buffer: u64, len: usize, flags: u32, address: UserPtr<u8>, address_len: UserPtr<i32>);
    46 => socket::sys_sendmsg(fd: i32, message: UserPtr<MsgHdr>, flags: u32);
    47 => socket::sys_recvmsg(fd: i32, message: UserPtr<MsgHdr>, flags: u32);
    48 => socket::sys_shutdown(fd: i32, how: u32);
    49 => socket::sys_bind(fd: i32, address: UserPtr<u8>, len: i32);
    50 => socket::sys_listen(fd: i32, backlog: u32);
    51 => socket::sys_getsockname(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>);
    52 => socket::sys_getpeername(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>);
    53 => socket::sys_socketpair(family: i32, kind: u32, protocol: i32, descriptors: UserPtr<[i32; 2]>);
    54 => socket::sys_setsockopt(fd: i32, level: i32, name: i32, value: UserPtr<u8>, len: i32);
    55 => socket::sys_getsockopt(fd: i32, level: i32, name: i32, value: UserPtr<u8>, len: UserPtr<i32>);
    56 => thread::sys_clone(flags: u64, stack: u64, parent_tid: UserPtr<u32>, child_tid: UserPtr<u32>, tls: u64);
    57 => thread::sys_fork();
    58 => thread::sys_vfork();
    59 => thread::sys_execve(path: UserString, arguments: UserPtr<u64>, environment: UserPtr<u64>);
    60 => thread::sys_exit(status: i32);
    61 => process::sys_wait4(pid: i32, status: UserPtr<i32>, options: u32, usage: UserPtr<u8>);
    62 => signals::sys_kill(pid: i32, signal: u32);
    63 => info::sys_uname(into: UserPtr<Utsname>);
    72 => fd::sys_fcntl(fd: i32, command: u32, argument: u64);
    73 => lock::sys_flock(fd: i32, operation: u32);
    74 => file::sys_fsync(fd: i32);
    75 => file::sys_fdatasync(fd: i32);
    76 => stat::sys_truncate(path: UserString, size: i64);
    77 => stat::sys_ftruncate(fd: i32, size: i64);
    79 => directory::sys_getcwd(buffer: UserPtr<u8>, len: usize);
    80 => directory::sys_chdir(path: UserString);
    81 => directory::sys_fchdir(fd: i32);
    82 => directory::sys_rename(old: UserString, new: UserString);
    83 => directory::sys_mkdir(path: UserString, mode: u32);
    84 => directory::sys_rmdir(path: UserString);
    85 => file::sys_creat(path: UserString, mode: u32);
    86 => directory::sys_link(old: UserString, new: UserString);
    87 => directory::sys_unlink(path: UserString);
    88 => directory::sys_symlink(text: UserString, path: UserString);
    89 => directory::sys_readlink(path: UserString, buffer: UserPtr<u8>, len: i32);
    90 => stat::sys_chmod(path: UserString, mode: u32);
    91 => stat::sys_fchmod(fd: i32, mode: u32);
    92 => stat::sys_chown(path: UserString, uid: u32, gid: u32);
    93 => stat::sys_fchown(fd: i32, uid: u32, gid: u32);
    94 => stat::sys_lchown(path: UserString, uid: u32, gid: u32);
    95 => directory::sys_umask(mask: u32);
    96 => time::sys_gettimeofday(now: UserPtr<Timeval>, zone: UserPtr<[i32; 2]>);
    97 => process::sys_getrlimit(resource: u32, limit: UserPtr<Rlimit>);
    98 => process::sys_getrusage(who: i32, usage: UserPtr<Rusage>);
    99 => info::sys_sysinfo(into: UserPtr<Sysinfo>);
    100 => time::sys_times(into: UserPtr<Tms>);
    102 => credentials::sys_getuid();
    104 => credentials::sys_getgid();
    105 => credentials::sys_setuid(id: u32);
    106 => credentials::sys_setgid(id: u32);
    107 => credentials::sys_geteuid();
    108 => credentials::sys_getegid();
    109 => process::sys_setpgid(pid: i32, group: i32);
    110 => process::sys_getppid();
    111 => process::sys_getpgrp();
    112 => process::sys_setsid();
    113 => credentials::sys_setreuid(real: u32, effective: u32);
    114 => credentials::sys_setregid(real: u32, effective: u32);
    115 => credentials::sys_getgroups(count: i32, groups: UserPtr<u32>);
    116 => credentials::sys_setgroups(count: i32, groups: UserPtr<u32>);
    117 => credentials::sys_setresuid(real: u32, effective: u32, saved: u32);
    118 => credentials::sys_getresuid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>);
    119 => credentials::sys_setresgid(real: u32, effective: u32, saved: u32);
    120 => credentials::sys_getresgid(real: UserPtr<u32>, effective: UserPtr<u32>, saved: UserPtr<u32>);
    121 => process::sys_getpgid(pid: i32);
    122 => credentials::sys_setfsuid(id: u32);
    123 => credentials::sys_setfsgid(id: u32);
    124 => process::sys_getsid(pid: i32);
    125 => credentials::sys_capget(header: UserPtr<credentials::CapabilityHeader>, data: UserPtr<credentials::CapabilityWord>);
    126 => credentials::sys_capset(header: UserPtr<credentials::CapabilityHeader>, data: UserPtr<credentials::CapabilityWord>);
    127 => signals::sys_rt_sigpending(set: UserPtr<u64>, set_size: usize);
    128 => signals::sys_rt_sigtimedwait(set: UserPtr<u64>, info: UserPtr<SigInfo>, timeout: UserPtr<Timespec>, set_size: usize);
    129 => signals::sys_rt_sigqueueinfo(pid: i32, signal: u32, info: UserPtr<SigInfo>);
    130 => signals::sys_rt_sigsuspend(set: UserPtr<u64>, set_size: usize);
    131 => signals::sys_sigaltstack(new: UserPtr<StackT>, old: UserPtr<StackT>);
    132 => stat::sys_utime(path: UserString, times: UserPtr<[i64; 2]>);
    133 => directory::sys_mknod(path: UserString, mode: u32, device: u32);
    135 => process::sys_personality(persona: u32);
    137 => stat::sys_statfs(path: UserString, into: UserPtr<Statfs>);
    138 => stat::sys_fstatfs(fd: i32, into: UserPtr<Statfs>);
    140 => schedule::sys_getpriority(which: i32, who: i32);
    141 => schedule::sys_setpriority(which: i32, who: i32, nice: i32);
    142 => schedule::sys_sched_setparam(tid: i32, parameter: UserPtr<i32>);
    143 => schedule::sys_sched_getparam(tid: i32, parameter: UserPtr<i32>);
    144 => schedule::sys_sched_setscheduler(tid: i32, policy: i32, parameter: UserPtr<i32>);
    145 => schedule::sys_sched_getscheduler(tid: i32);
    146 => schedule::sys_sched_get_priority_max(policy: i32);
    147 => schedule::sys_sched_get_priority_min(policy: i32);
    148 => schedule::sys_sched_rr_get_interval(tid: i32, interval: UserPtr<Timespec>);
    149 => memory::sys_mlock(address: usize, len: usize);
    150 => memory::sys_munlock(address: usize, len: usize);
    151 => memory::sys_mlockall(flags: u32);
    152 => memory::sys_munlockall();
    157 => thread::sys_prctl(option: u32, a: u64, b: u64, c: u64, d: u64);
    158 => thread::sys_arch_prctl(code: u32, address: u64);
    160 => process::sys_setrlimit(resource: u32, limit: UserPtr<Rlimit>);
    162 => file::sys_sync();
    165 => mount::sys_mount(source: u64, target: UserString, kind: u64, flags: u64, data: u64);
    166 => mount::sys_umount2(target: UserString, flags: u32);
    169 => process::sys_reboot(magic1: u32, magic2: u32, command: u32, argument: u64);
    170 => info::sys_sethostname(name: UserPtr<u8>, len: usize);
    186 => thread::sys_gettid();
    187 => file::sys_readahead(fd: i32, offset: i64, len: usize);
    188 => xattr::sys_setxattr(path: UserString, name: UserString, value: UserPtr<u8>, len: usize, flags: u32);
    189 => xattr::sys_lsetxattr(path: UserString, name: UserString, value: UserPtr<u8>, len: usize, flags: u32);
    190 => xattr::sys_fsetxattr(fd: i32, name: UserString, value: UserPtr<u8>, len: usize, flags: u32);
    191 => xattr::sys_getxattr(path: UserString, name: UserString, into: UserPtr<u8>, room: usize);
    192 => xattr::sys_lgetxattr(path: UserString, name: UserString, into: UserPtr<u8>, room: usize);
    193 => xattr::sys_fgetxattr(fd: i32, name: UserString, into: UserPtr<u8>, room: usize);
    194 => xattr::sys_listxattr(path: UserString, into: UserPtr<u8>, room: usize);
    195 => xattr::sys_llistxattr(path: UserString, into: UserPtr<u8>, room: usize);
    196 => xattr::sys_flistxattr(fd: i32, into: UserPtr<u8>, room: usize);
    197 => xattr::sys_removexattr(path: UserString, name: UserString);
    198 => xattr::sys_lremovexattr(path: UserString, name: UserString);
    199 => xattr::sys_fremovexattr(fd: i32, name: UserString);
    200 => signals::sys_tkill(tid: i32, signal: u32);
    201 => time::sys_time(into: UserPtr<i64>);
    202 => futex::sys_futex(address: UserPtr<u32>, operation: u32, value: u32, timeout_or_value2: u64, address2: UserPtr<u32>, value3: u32);
    203 => schedule::sys_sched_setaffinity(tid: i32, len: usize, mask: UserPtr<u8>);
    204 => schedule::sys_sched_getaffinity(tid: i32, len: usize, mask: UserPtr<u8>);
    213 => epoll::sys_epoll_create(size: i32);
    217 => directory::sys_getdents64(fd: i32, buffer: UserPtr<u8>, len: u32);
    218 => thread::sys_set_tid_address(address: u64);
    219 => time::sys_restart_syscall();
    221 => file::sys_fadvise64(fd: i32, offset: i64, len: i64, advice: u32);
    222 => timer::sys_timer_create(clock: i32, event: UserPtr<timer::SigEvent>, id: UserPtr<i32>);
    223 => timer::sys_timer_settime(id: i32, flags: u32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>);
    224 => timer::sys_timer_gettime(id: i32, into: UserPtr<Itimerspec>);
    225 => timer::sys_timer_getoverrun(id: i32);
    226 => timer::sys_timer_delete(id: i32);
    227 => time::sys_clock_settime(clock: i32, value: UserPtr<Timespec>);
    228 => time::sys_clock_gettime(clock: i32, into: UserPtr<Timespec>);
    229 => time::sys_clock_getres(clock: i32, into: UserPtr<Timespec>);
    230 => time::sys_clock_nanosleep(clock: i32, flags: u32, duration: UserPtr<Timespec>, remaining: UserPtr<Timespec>);
    231 => thread::sys_exit_group(status: i32);
    232 => epoll::sys_epoll_wait(epoll: i32, events: UserPtr<EpollEvent>, max: i32, timeout_ms: i32);
    233 => epoll::sys_epoll_ctl(epoll: i32, operation: u32, fd: i32, event: UserPtr<EpollEvent>);
    234 => signals::sys_tgkill(pid: i32, tid: i32, signal: u32);
    235 => stat::sys_utimes(path: UserString, times: UserPtr<Timeval>);
    237 => policy::sys_mbind(address: usize, len: usize, mode: u32, nodes: UserPtr<u64>, max_node: usize, flags: u32);
    238 => policy::sys_set_mempolicy(mode: u32, nodes: UserPtr<u64>, max_node: usize);
    239 => policy::sys_get_mempolicy(mode: UserPtr<u32>, nodes: UserPtr<u64>, max_node: usize, address: usize, flags: u64);
    247 => process::sys_waitid(kind: u32, id: i32, info: UserPtr<u8>, options: u32, usage: UserPtr<u8>);
    253 => inotify::sys_inotify_init();
    254 => inotify::sys_inotify_add_watch(fd: i32, path: UserString, mask: u32);
    255 => inotify::sys_inotify_rm_watch(fd: i32, descriptor: i32);
    257 => file::sys_openat(directory: i32, path: UserString, flags: u32, mode: u32);
    258 => directory::sys_mkdirat(directory: i32, path: UserString, mode: u32);
    259 => directory::sys_mknodat(directory: i32, path: UserString, mode: u32, device: u32);
    260 => stat::sys_fchownat(directory: i32, path: UserString, uid: u32, gid: u32, flags: u32);
    261 => stat::sys_futimesat(directory: i32, path: UserString, times: UserPtr<Timeval>);
    262 => stat::sys_newfstatat(directory: i32, path: UserString, into: UserPtr<Stat>, flags: u32);
    263 => directory::sys_unlinkat(directory: i32, path: UserString, flags: u32);
    264 => directory::sys_renameat(old_directory: i32, old: UserString, new_directory: i32, new: UserString);
    265 => directory::sys_linkat(old_directory: i32, old: UserString, new_directory: i32, new: UserString, flags: u32);
    266 => directory::sys_symlinkat(text: UserString, directory: i32, path: UserString);
    267 => directory::sys_readlinkat(directory: i32, path: UserString, buffer: UserPtr<u8>, len: i32);
    268 => stat::sys_fchmodat(directory: i32, path: UserString, mode: u32);
    269 => stat::sys_faccessat(directory: i32, path: UserString, mode: u32);
    270 => poll::sys_pselect6(descriptors: i32, read: UserPtr<u64>, write: UserPtr<u64>, except: UserPtr<u64>, timeout: UserPtr<Timespec>, mask: UserPtr<[u64; 2]>);
    271 => poll::sys_ppoll(fds: UserPtr<PollFd>, count: u32, timeout: UserPtr<Timespec>, mask: UserPtr<u64>, mask_size: usize);
    272 => thread::sys_unshare(flags: u64);
    273 => futex::sys_set_robust_list(head: u64, len: usize);
    274 => futex::sys_get_robust_list(tid: i32, head: UserPtr<u64>, len: UserPtr<usize>);
    275 => splice::sys_splice(from: i32, from_offset: UserPtr<i64>, to: i32, to_offset: UserPtr<i64>, count: usize, flags: u32);
    277 => file::sys_sync_file_range(fd: i32, offset: i64, len: i64, flags: u32);
    280 => stat::sys_utimensat(directory: i32, path: UserString, times: UserPtr<[Timespec; 2]>, flags: u32);
    281 => epoll::sys_epoll_pwait(epoll: i32, events: UserPtr<EpollEvent>, max: i32, timeout_ms: i32, mask: UserPtr<u64>, mask_size: usize);
    282 => event::sys_signalfd(fd: i32, mask: UserPtr<u64>, mask_size: usize);
    283 => event::sys_timerfd_create(clock: i32, flags: u32);
    284 => event::sys_eventfd(initial: u32);
    285 => stat::sys_fallocate(fd: i32, mode: u32, offset: i64, len: i64);
    286 => event::sys_timerfd_settime(fd: i32, flags: u32, new: UserPtr<Itimerspec>, old: UserPtr<Itimerspec>);
    287 => event::sys_timerfd_gettime(fd: i32, into: UserPtr<Itimerspec>);
    288 => socket::sys_accept4(fd: i32, address: UserPtr<u8>, len: UserPtr<i32>, flags: u32);
    289 => event::sys_signalfd4(fd: i32, mask: UserPtr<u64>, mask_size: usize, flags: u32);
    290 => event::sys_eventfd2(initial: u32, flags: u32);
    291 => epoll::sys_epoll_create1(flags: u32);
    292 => fd::sys_dup3(fd: i32, new: i32, flags: u32);
    293 => pipe::sys_pipe2(descriptors: UserPtr<[i32; 2]>, flags: u32);
    294 => inotify::sys_inotify_init1(flags: u32);
    295 => file::sys_preadv(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64);
    296 => file::sys_pwritev(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64);
    297 => signals::sys_rt_tgsigqueueinfo(pid: i32, tid: i32, signal: u32, info: UserPtr<SigInfo>);
    299 => socket::sys_recvmmsg(fd: i32, messages: UserPtr<MMsgHdr>, count: u32, flags: u32, timeout: UserPtr<Timespec>);
    302 => process::sys_prlimit64(pid: i32, resource: u32, new: UserPtr<Rlimit>, old: UserPtr<Rlimit>);
    306 => file::sys_syncfs(fd: i32);
    307 => socket::sys_sendmmsg(fd: i32, messages: UserPtr<MMsgHdr>, count: u32, flags: u32);
    309 => schedule::sys_getcpu(cpu: UserPtr<u32>, node: UserPtr<u32>, cache: u64);
    316 => directory::sys_renameat2(old_directory: i32, old: UserString, new_directory: i32, new: UserString, flags: u32);
    318 => random::sys_getrandom(buffer: UserPtr<u8>, length: usize, flags: u32);
    319 => fd::sys_memfd_create(name: UserString, flags: u32);
    322 => thread::sys_execveat(directory: i32, path: UserString, arguments: UserPtr<u64>, environment: UserPtr<u64>, flags: u32);
    324 => schedule::sys_membarrier(command: u32, flags: u32, cpu: i32);
    325 => memory::sys_mlock2(address: usize, len: usize, flags: u32);
    326 => file::sys_copy_file_range(from: i32, from_offset: UserPtr<i64>, to: i32, to_offset: UserPtr<i64>, count: usize, flags: u32);
    327 => file::sys_preadv2(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64, high: u64, flags: u32);
    328 => file::sys_pwritev2(fd: i32, vector: UserPtr<[u64; 2]>, count: usize, offset: i64, high: u64, flags: u32);
    332 => stat::sys_statx(directory: i32, path: UserString, flags: u32, mask: u32, into: UserPtr<Statx>);
    435 => thread::sys_clone3(arguments: UserPtr<u8>, size: usize);
    436 => fd::sys_close_range(first: u32, last: u32, flags: u32);
    437 => file::sys_openat2(directory: i32, path: UserString, how: UserPtr<u8>, size: usize);
    439 => stat::sys_faccessat2(directory: i32, path: UserString, mode: u32, flags: u32);
    441 => epoll::sys_epoll_pwait2(epoll: i32, events: UserPtr<EpollEvent>, max: i32, timeout: UserPtr<Timespec>, mask: UserPtr<u64>, mask_size: usize);
}

/// Whether a call never waits, so that showing it once in the trace, with its result, is enough.
pub fn returns_soon(number: u64) -> bool {
    const MAY_WAIT: [u64; 35] = [
        0, 1, 7, 19, 20, 23, 34, 35, 42, 43, 44, 45, 46, 47, 60, 61, 72, 73, 74, 75, 128, 130, 202, 230, 231,
        232, 247, 270, 275, 271, 281, 288, 299, 307, 441,
    ];
    !MAY_WAIT.contains(&number)
}
