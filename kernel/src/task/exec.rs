//! stub
pub fn start_program() -> Result<(), alloc::string::String> {
    for i in 0..8 { let _ = super::spawn_kernel_thread("test", test, i); }
    Ok(())
}
extern "C" fn test(i: usize) -> ! {
    for n in 0..5 { log::warn!("thread {i} round {n} on cpu {}", crate::arch::cpu::index());
      static Q: ksync::WaitQueue = ksync::WaitQueue::new();
      let _ = Q.wait(ksync::Interruptible::No, Some(ksync::platform::now_ns() + 10_000_000), || None::<()>);
      if i % 2 == 0 { let e = ksync::platform::now_ns() + 20_000_000; while ksync::platform::now_ns() < e { crate::sched::yield_now(); } }
    }
    if i == 0 { log::warn!("done"); crate::power::emergency_exit() }
    super::park_forever()
}
