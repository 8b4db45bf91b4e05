//! Every interleaving of a CPU that goes to sleep and one that makes work takable. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p run-queue --release loom`.

use std::sync::Arc;

use loom::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::IdleCpus;

/// An interrupt stays pending until the CPU, which masks interrupts while it looks, halts.
struct Interrupt {
    pending: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    fn send(&self) {
        *self.pending.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn halt(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.changed.wait(pending).unwrap();
        }
        *pending = false;
    }
}

struct Machine {
    idle: IdleCpus,
    /// The one thread that waits on the other CPU's queue has not been switched away from yet.
    on_cpu: AtomicBool,
    interrupt: Interrupt,
}

/// The CPU that sleeps.
const SLEEPER: usize = 5;

#[test]
fn loom_no_cpu_sleeps_beside_a_thread_that_it_could_take() {
    loom::model(|| {
        let machine = Arc::new(Machine {
            idle: IdleCpus::new(),
            on_cpu: AtomicBool::new(true),
            interrupt: Interrupt { pending: Mutex::new(false), changed: Condvar::new() },
        });
        let busy = thread::spawn({
            let machine = machine.clone();
            move || {
                // Relaxed: the set of idle CPUs must order it.
                machine.on_cpu.store(false, Ordering::Relaxed);
                if machine.idle.after_change() & 1 << SLEEPER != 0 {
                    machine.interrupt.send();
                }
            }
        });
        loop {
            machine.idle.announce(SLEEPER);
            let is_takable = !machine.on_cpu.load(Ordering::Relaxed);
            if !is_takable {
                machine.interrupt.halt();
            }
            machine.idle.withdraw(SLEEPER);
            if is_takable {
                break;
            }
        }
        busy.join().unwrap();
    });
}
