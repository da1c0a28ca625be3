//! The time driver for embassy-time: the register `time` counts at 10 MHz, and `mtimecmp` triggers the interrupt.
#![allow(unsafe_code)] // registers

use core::{cell::RefCell, ptr, task::Waker};

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;
use riscv::register::time;

const MTIMECMP_LOW: *mut u32 = ptr::without_provenance_mut(0x0200_4000);
const MTIMECMP_HIGH: *mut u32 = ptr::without_provenance_mut(0x0200_4004);

struct Clint {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static DRIVER: Clint = Clint {
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Clint {
    /// Wakes the tasks that are due, and sets the alarm for the next one. An alarm in the past interrupts at once.
    fn set_alarm(&self, cs: CriticalSection<'_>) {
        let next = self
            .queue
            .borrow_ref_mut(cs)
            .next_expiration(time::read64());
        let [a, b, c, d, high @ ..] = next.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(high));
        // SAFETY: the two halves of mtimecmp of hart 0, in the order that the privileged specification gives.
        unsafe {
            MTIMECMP_LOW.write_volatile(u32::MAX);
            MTIMECMP_HIGH.write_volatile(high);
            MTIMECMP_LOW.write_volatile(low);
        }
    }
}

impl Driver for Clint {
    fn now(&self) -> u64 {
        time::read64()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            if self.queue.borrow_ref_mut(cs).schedule_wake(at, waker) {
                self.set_alarm(cs);
            }
        });
    }
}

#[riscv_rt::core_interrupt(riscv::interrupt::Interrupt::MachineTimer)]
fn timer() {
    critical_section::with(|cs| DRIVER.set_alarm(cs));
}
