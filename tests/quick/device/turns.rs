//! Enumerates the orders in which tasks can be polled, and polls them.
//!
//! Nothing is random: a history is a list of choices, and the next history differs in the last choice that has another
//! option. A task is polled only if the waker of its latest poll has woken it.

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

/// The set of histories that are run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// This number of choices are free. After them, the first option is taken.
    Depth(usize),
    /// At most this number of choices are not the first option.
    Deviations(usize),
}

/// The choices of one history.
pub(crate) struct Choices {
    bound: Bound,
    /// The option taken, and the number of options.
    made: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// The choices of the first history: always the first option.
    pub(crate) const fn new(bound: Bound) -> Self {
        Self {
            bound,
            made: Vec::new(),
            next: 0,
        }
    }

    /// Chooses one of this number of options.
    pub(crate) fn choose(&mut self, options: usize) -> usize {
        if options < 2 {
            return 0;
        }
        if self.next == self.made.len() {
            self.made.push((0, options));
        }
        let (taken, of) = self.made[self.next];
        assert_eq!(of, options, "a history is not reproducible");
        self.next += 1;
        taken
    }

    /// Continues with the next history. Returns `false` if there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.made.truncate(self.next);
        self.next = 0;
        while let Some((taken, options)) = self.made.pop() {
            let is_free = match self.bound {
                Bound::Depth(depth) => self.made.len() < depth,
                Bound::Deviations(most) => {
                    self.made.iter().filter(|(taken, _)| *taken > 0).count() < most
                }
            };
            if is_free && taken + 1 < options {
                self.made.push((taken + 1, options));
                return true;
            }
        }
        false
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.made.iter().map(|(taken, _)| taken))
            .finish()
    }
}

/// Tasks that were woken, in that order, and the number of the latest poll of each task.
#[derive(Default)]
struct Queue {
    ready: VecDeque<usize>,
    polls: Vec<u32>,
}

/// The waker of one poll.
struct Token {
    queue: Arc<Mutex<Queue>>,
    task: usize,
    poll: u32,
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        let mut queue = self.queue.lock().unwrap();
        // An older waker does not have to wake the task.
        if queue.polls[self.task] == self.poll && !queue.ready.contains(&self.task) {
            queue.ready.push_back(self.task);
        }
    }
}

/// Tasks that the test polls one at a time.
#[derive(Default)]
pub(crate) struct Turns<'t> {
    tasks: Vec<Option<Pin<Box<dyn Future<Output = ()> + 't>>>>,
    queue: Arc<Mutex<Queue>>,
}

impl<'t> Turns<'t> {
    /// Adds a task, which is ready, and returns its number.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 't) -> usize {
        let number = self.tasks.len();
        self.tasks.push(Some(Box::pin(task)));
        let mut queue = self.queue.lock().unwrap();
        queue.polls.push(0);
        queue.ready.push_back(number);
        number
    }

    /// The tasks that can be polled.
    pub(crate) fn ready(&self) -> Vec<usize> {
        self.queue.lock().unwrap().ready.iter().copied().collect()
    }

    /// Polls a task that is ready.
    pub(crate) fn poll(&mut self, number: usize) {
        let poll = {
            let mut queue = self.queue.lock().unwrap();
            queue.ready.retain(|ready| *ready != number);
            queue.polls[number] += 1;
            queue.polls[number]
        };
        let waker = Waker::from(Arc::new(Token {
            queue: Arc::clone(&self.queue),
            task: number,
            poll,
        }));
        let Some(task) = &mut self.tasks[number] else {
            return;
        };
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.drop_task(number);
        }
    }

    pub(crate) fn drop_task(&mut self, number: usize) {
        self.tasks[number] = None;
        let mut queue = self.queue.lock().unwrap();
        queue.ready.retain(|ready| *ready != number);
    }

    pub(crate) fn has_ended(&self, number: usize) -> bool {
        self.tasks[number].is_none()
    }
}

/// A message from one task to another.
#[derive(Default)]
pub(crate) struct Signal {
    is_set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    pub(crate) fn set(&self) {
        self.is_set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until it is set, and clears it.
    pub(crate) async fn wait(&self) {
        core::future::poll_fn(|cx| {
            if self.is_set.take() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
