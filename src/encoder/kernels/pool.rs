//! Threads that share the steps of one frame: a hundred short steps, so that they wait awake for the
//! next one and go to sleep only between frames.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::bed::Bed;

/// Looks for work before a thread goes to sleep: some 200 µs, longer than any step that is not shared.
const LOOKS: u32 = 10_000;

/// Threads that wait for work; one of them is the caller's.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Shared {
    /// Counts pieces of work; a new number is the call to join.
    call: AtomicUsize,
    /// The work that is open to be joined.
    work: Mutex<Option<Job>>,
    called: Condvar,
    sleepers: AtomicUsize,
    /// Where each of the other threads sleeps.
    beds: Vec<Bed>,
    next: AtomicUsize,
    /// Threads that joined and are not done. One that sleeps too long to join is not waited for.
    busy: AtomicUsize,
    has_panicked: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    units: usize,
    stop: bool,
}

// SAFETY: the pointer is used only while `Pool::run` that made it waits, and what it points to is Sync.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` threads, the caller's included. Threads that the system refuses are left out.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            call: AtomicUsize::new(0),
            work: Mutex::new(None),
            called: Condvar::new(),
            sleepers: AtomicUsize::new(0),
            beds: (1..threads).map(|_| Bed::default()).collect(),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            has_panicked: AtomicBool::new(false),
        });
        let start = |worker| {
            let own = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("encoder {worker}"));
            thread.spawn(move || own.serve(worker)).ok()
        };
        let threads = (1..threads).map_while(start).collect();
        Self { shared, threads }
    }

    /// How many threads share the work.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Hands each of `out`'s chunks of `size` with its number to `work`, with a scratch of the thread's own.
    ///
    /// # Panics
    /// There are fewer scratches than threads, or `work` panics.
    pub(crate) fn chunks<S: Send, T: Send>(
        &mut self,
        scratch: &mut [S],
        out: &mut [T],
        size: usize,
        work: impl Fn(&mut S, usize, &mut [T]) + Sync,
    ) {
        assert!(scratch.len() >= self.threads());
        let units = out.len().div_ceil(size.max(1));
        let (scratch, out) = (Parts::of(scratch), Parts::of(out));
        self.run(units, &|worker, unit| {
            let first = unit * size;
            let count = size.min(out.length - first);
            // SAFETY: each worker has its own scratch, each unit comes once and has its own chunk, and
            // `run` returns when all are done.
            let (scratch, chunk) = unsafe { (scratch.cut(worker, 1), out.cut(first, count)) };
            work(&mut scratch[0], unit, chunk);
        });
    }

    fn run(&mut self, units: usize, work: &Work<'_>) {
        if self.threads.is_empty() || units <= 1 {
            (0..units).for_each(|unit| work(0, unit));
            return;
        }
        let shared = &self.shared;
        // SAFETY: only the lifetime changes, and the work is over before this function returns: it
        // is waited for below even where our own share panics.
        let job = Job {
            work: unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) },
            units,
            stop: false,
        };
        shared.next.store(0, Relaxed);
        shared.begin(job);
        let own = catch_unwind(AssertUnwindSafe(|| shared.share(0, job)));
        // Nobody joins from here on.
        *shared.lock() = None;
        let mut looks = 0;
        while shared.busy.load(Acquire) > 0 {
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let others = shared.has_panicked.swap(false, Relaxed);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!others, "a thread of the encoder panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let nothing: &Work<'static> = &|_, _| {};
        self.shared.begin(Job {
            work: nothing,
            units: 0,
            stop: true,
        });
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Job>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, job: Job) {
        let mut work = self.lock();
        *work = Some(job);
        self.call.fetch_add(1, Release);
        drop(work);
        if self.sleepers.load(Acquire) > 0 {
            Bed::leave_free(&self.beds);
            self.called.notify_all();
        }
    }

    /// Takes units until none is left.
    fn share(&self, worker: usize, job: Job) {
        loop {
            let unit = self.next.fetch_add(1, Relaxed);
            if unit >= job.units {
                return;
            }
            // SAFETY: whoever called waits until this thread is no longer busy.
            unsafe { (*job.work)(worker, unit) };
        }
    }

    fn serve(&self, worker: usize) {
        let mut seen = 0;
        let bed = &self.beds[worker - 1];
        bed.belongs_to_this_thread();
        loop {
            let Some(job) = self.joined(&mut seen, bed) else {
                continue;
            };
            if job.stop {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| self.share(worker, job))).is_err() {
                self.has_panicked.store(true, Relaxed);
            }
            self.busy.fetch_sub(1, Release);
        }
    }

    /// Waits for a call and joins its work, unless that is over already.
    fn joined(&self, seen: &mut usize, bed: &Bed) -> Option<Job> {
        for _ in 0..LOOKS {
            if self.call.load(Acquire) != *seen {
                break;
            }
            std::hint::spin_loop();
        }
        let mut work = self.lock();
        if self.call.load(Acquire) == *seen {
            self.sleepers.fetch_add(1, Release);
            bed.lie_down();
            while self.call.load(Acquire) == *seen {
                work = self
                    .called
                    .wait(work)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            bed.get_up();
            self.sleepers.fetch_sub(1, Release);
        }
        *seen = self.call.load(Acquire);
        // Under the lock: whoever called closes the work there before it looks who is busy.
        if work.is_some() {
            self.busy.fetch_add(1, Relaxed);
        }
        *work
    }
}

/// A slice that threads take different parts of.
struct Parts<'a, T> {
    first: *mut T,
    length: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out once each, so that this is sending `&mut T`.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    fn of(slice: &'a mut [T]) -> Self {
        Self {
            first: slice.as_mut_ptr(),
            length: slice.len(),
            of: PhantomData,
        }
    }

    /// # Safety
    /// No other part that is alive overlaps it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn cut(&self, first: usize, count: usize) -> &mut [T] {
        assert!(first <= self.length && count <= self.length - first);
        // SAFETY: it lies within the slice, which is borrowed for 'a; the caller keeps parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(first), count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_worked_on_once_by_any_number_of_threads() {
        for threads in 1..6 {
            let mut pool = Pool::new(threads);
            let mut scratch = vec![0_u64; threads];
            let mut out = vec![0_u32; 1003];
            for round in 1..200 {
                pool.chunks(&mut scratch, &mut out, 10, |count, unit, chunk| {
                    *count += 1;
                    chunk.iter_mut().for_each(|v| *v += unit as u32);
                });
                assert!(
                    out.iter()
                        .enumerate()
                        .all(|(i, v)| *v == round * (i as u32 / 10))
                );
            }
            assert_eq!(scratch.iter().sum::<u64>(), 199 * 101);
        }
    }

    #[test]
    fn a_panic_comes_back_to_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(3);
        let mut out = [0; 30];
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            pool.chunks(&mut [(); 3], &mut out, 1, |(), unit, _| assert!(unit != 17));
        }));
        assert!(panicked.is_err());
        pool.chunks(&mut [(); 3], &mut out, 1, |(), _, chunk| chunk[0] = 1);
        assert_eq!(out, [1; 30]);
    }

    #[test]
    fn threads_that_slept_wake_up() {
        let mut pool = Pool::new(2);
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let mut out = [0; 8];
            pool.chunks(&mut [(); 2], &mut out, 1, |(), _, chunk| chunk[0] += 1);
            assert_eq!(out, [1; 8]);
        }
    }
}
