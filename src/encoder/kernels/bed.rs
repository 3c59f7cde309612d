//! Where a thread sleeps, so that it does not wake on the core of whoever calls it.
//!
//! A kernel that knows no groups of cores, as those of some small virtual machines, wakes a thread on the core of its
//! caller; the two take turns for milliseconds while another core is idle. So a caller bars its own core to those that
//! sleep, and they lift the bar once they are up. It costs a microsecond a thread and frame.

#[cfg(target_os = "linux")]
pub(super) use linux::Bed;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Bed;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicI32;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Mutex, PoisonError};

    /// Where a thread sleeps.
    pub(in super::super) struct Bed {
        thread: AtomicI32,
        /// Held while a bar is put up or taken down, so that none is left behind.
        rest: Mutex<Rest>,
        allowed: Option<libc::cpu_set_t>,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Rest {
        Awake,
        Asleep,
        /// Asleep, and a core is barred.
        Barred,
    }

    impl Default for Bed {
        fn default() -> Self {
            Self {
                thread: AtomicI32::new(0),
                rest: Mutex::new(Rest::Awake),
                allowed: allowed(),
            }
        }
    }

    /// The cores that this process may use, if there are several.
    fn allowed() -> Option<libc::cpu_set_t> {
        // SAFETY: a set of cores is a plain array of bits, for which zeros are the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is as long as said.
        let asked = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
        // SAFETY: as above.
        (asked == 0 && unsafe { libc::CPU_COUNT(&set) } > 1).then_some(set)
    }

    fn here() -> i32 {
        // SAFETY: it takes nothing and gives a number.
        unsafe { libc::sched_getcpu() }
    }

    fn bind(thread: i32, set: &libc::cpu_set_t) {
        // SAFETY: the set is as long as said. Where the kernel refuses, the thread stays as free as it was.
        unsafe { libc::sched_setaffinity(thread, size_of_val(set), set) };
    }

    impl Bed {
        pub(in super::super) fn belongs_to_this_thread(&self) {
            // SAFETY: it takes nothing and gives a number.
            self.thread.store(unsafe { libc::gettid() }, Relaxed);
        }

        fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
            self.rest.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(in super::super) fn lie_down(&self) {
            *self.rest() = Rest::Asleep;
        }

        pub(in super::super) fn get_up(&self) {
            let mut rest = self.rest();
            if *rest == Rest::Barred
                && let Some(allowed) = &self.allowed
            {
                bind(0, allowed);
            }
            *rest = Rest::Awake;
        }

        /// Bars the caller's core to all who sleep.
        pub(in super::super) fn leave_free(beds: &[Self]) {
            let here = here();
            for bed in beds {
                let mut rest = bed.rest();
                let Some(mut others) = bed.allowed.filter(|_| here >= 0) else {
                    continue;
                };
                if *rest != Rest::Asleep {
                    continue;
                }
                // SAFETY: a core that this thread runs on has a place in the set.
                unsafe { libc::CPU_CLR(here as usize, &mut others) };
                bind(bed.thread.load(Relaxed), &others);
                *rest = Rest::Barred;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Other systems find a free core by themselves.
    #[derive(Default)]
    pub(in super::super) struct Bed;

    impl Bed {
        pub(in super::super) fn belongs_to_this_thread(&self) {}
        pub(in super::super) fn lie_down(&self) {}
        pub(in super::super) fn get_up(&self) {}
        pub(in super::super) fn leave_free(_: &[Self]) {}
    }
}
