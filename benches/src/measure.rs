//! A routine that is measured in instructions or in nanoseconds.

use std::fmt::Debug;
use std::hint::black_box;

use criterion::{BatchSize, Criterion};

/// A routine with a name of three parts, `table/row/crate`. Each run has a new input.
pub struct Job<S, R> {
    pub name: String,
    pub setup: S,
    pub routine: R,
}

pub trait Work {
    fn name(&self) -> &str;

    /// Runs it once to warm up, and once under [`measured`].
    fn once(&mut self);

    /// Runs it many times.
    fn often(&mut self, criterion: &mut Criterion);
}

impl<I, O, S: FnMut() -> I, R: FnMut(&mut I) -> O> Work for Job<S, R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn once(&mut self) {
        let mut input = (self.setup)();
        drop((self.routine)(&mut input));
        let mut input = (self.setup)();
        measured(&mut || {
            let result = (self.routine)(&mut input);
            // Not by value, which would copy it.
            black_box(&result);
            // It is never dropped, so the release of allocated memory is not counted.
            std::mem::forget(result);
        });
    }

    fn often(&mut self, criterion: &mut Criterion) {
        let name = self.name.replace('/', "-");
        criterion.bench_function(&name, |bencher| {
            bencher.iter_batched_ref(
                &mut self.setup,
                |input| (self.routine)(input),
                BatchSize::SmallInput,
            );
        });
    }
}

/// Callgrind counts only inside this function.
#[inline(never)]
pub fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Collects routines by name.
#[derive(Default)]
pub struct Jobs(pub Vec<Box<dyn Work>>);

impl Jobs {
    pub fn add<I: 'static, O: 'static>(
        &mut self,
        name: String,
        setup: impl FnMut() -> I + 'static,
        routine: impl FnMut(&mut I) -> O + 'static,
    ) {
        self.0.push(Box::new(Job {
            name,
            setup,
            routine,
        }));
    }

    /// Adds a routine without input, whose result must be the expected one.
    pub fn add_checked<O: PartialEq + Debug + 'static>(
        &mut self,
        name: String,
        expected: O,
        mut routine: impl FnMut() -> O + 'static,
    ) {
        let row = name.clone();
        self.add(
            name,
            || (),
            move |()| {
                let result = routine();
                assert_eq!(result, expected, "{row}");
                result
            },
        );
    }
}
