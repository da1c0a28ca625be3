//! embassy-net on virtio-net.
#![allow(unsafe_code)] // registers, and memory that the device writes

use core::{
    cell::UnsafeCell,
    ptr,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
    task::Context,
};

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;
use riscv::{interrupt::Interrupt, register::mie};
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    device::net::VirtIONetRaw,
    transport::mmio::{MmioTransport, VirtIOHeader},
};

const BASE: *mut VirtIOHeader = ptr::without_provenance_mut(0x1000_1000);
const SIZE: usize = 0x1000;
const IRQ: usize = 1;

const PLIC_PRIORITY: *mut u32 = ptr::without_provenance_mut(0x0c00_0000 + 4 * IRQ);
const PLIC_ENABLE: *mut u32 = ptr::without_provenance_mut(0x0c00_2000);
const PLIC_CLAIM: *mut u32 = ptr::without_provenance_mut(0x0c20_0004);

const QUEUE: usize = 8;
const MTU: usize = 1514;
/// Size of a frame with the header of virtio. The device requires this size.
const BUFFER: usize = 1526;

static WAKER: AtomicWaker = AtomicWaker::new();

struct Identity;

#[repr(C, align(4096))]
struct Pages(UnsafeCell<[[u8; PAGE_SIZE]; PAGES]>);

/// Pages for two queues, with two parts each.
const PAGES: usize = 4;

static POOL: Pages = Pages(UnsafeCell::new([[0; PAGE_SIZE]; PAGES]));
static GIVEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: each page is given out once.
unsafe impl Sync for Pages {}

// SAFETY: pages that are zero, aligned, and given out once; addresses are the same for the device.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = GIVEN.load(Ordering::Relaxed);
        let after = first.saturating_add(pages);
        if after > PAGES {
            return (0, NonNull::dangling());
        }
        GIVEN.store(after, Ordering::Relaxed);
        // SAFETY: within the pool.
        let memory = unsafe {
            NonNull::from(&POOL.0)
                .cast::<[u8; PAGE_SIZE]>()
                .add(first)
                .cast::<u8>()
        };
        (memory.expose_provenance().get() as PhysAddr, memory)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("no PCI: {address}")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().expose_provenance().get() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

type Inner = VirtIONetRaw<Identity, MmioTransport<'static>, QUEUE>;
pub(crate) type Buffers = [[u8; BUFFER]; QUEUE];
pub(crate) const EMPTY: Buffers = [[0; BUFFER]; QUEUE];

pub(crate) struct Interface {
    device: Inner,
    buffers: &'static mut Buffers,
    /// The buffer of the frame that was returned last.
    empty: Option<usize>,
}

impl Interface {
    pub(crate) fn start(buffers: &'static mut Buffers) -> Option<Self> {
        let header = NonNull::new(BASE)?;
        // SAFETY: the first of the machine's virtio slots, which nothing else uses.
        let transport = unsafe { MmioTransport::new(header, SIZE) }.ok()?;
        let mut device = Inner::new(transport).ok()?;
        for buffer in buffers.iter_mut() {
            // SAFETY: not touched before `receive_complete`; and the buffer of token i is the i-th.
            unsafe { device.receive_begin(buffer) }.ok()?;
        }
        // SAFETY: registers of the interrupt controller.
        unsafe {
            PLIC_PRIORITY.write_volatile(1);
            PLIC_ENABLE.write_volatile(1 << IRQ);
        }
        Some(Self {
            device,
            buffers,
            empty: None,
        })
    }

    fn take(&mut self) -> Option<(Receive<'_>, Transmit<'_>)> {
        if let Some(token) = self.empty.take() {
            // SAFETY: as in `start`; this descriptor is the only free one.
            let again = unsafe { self.device.receive_begin(self.buffers.get_mut(token)?) };
            assert_eq!(again.map(usize::from), Ok(token));
        }
        let token = self.device.poll_receive()?;
        let index = usize::from(token);
        let buffer = self.buffers.get_mut(index)?;
        // SAFETY: the buffer that belongs to the token.
        let (from, len) = unsafe { self.device.receive_complete(token, buffer) }.ok()?;
        self.empty = Some(index);
        Some((
            Receive(buffer.get_mut(from..)?.get_mut(..len)?),
            Transmit(&mut self.device),
        ))
    }
}

/// Wakes the network task, and disables the interrupt until [`Interface`] is asked for a packet.
#[riscv_rt::core_interrupt(Interrupt::MachineExternal)]
fn external() {
    mie::disable(Interrupt::MachineExternal);
    WAKER.wake();
}

impl Driver for Interface {
    type RxToken<'a> = Receive<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Receive<'_>, Transmit<'_>)> {
        WAKER.register(cx.waker());
        let _ = self.device.ack_interrupt();
        // SAFETY: the address is that of the interrupt controller's register, and the handler changes no memory of this
        // task.
        unsafe {
            let irq = PLIC_CLAIM.read_volatile();
            if irq != 0 {
                PLIC_CLAIM.write_volatile(irq);
            }
            mie::enable(Interrupt::MachineExternal);
        }
        self.take()
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Transmit<'_>> {
        Some(Transmit(&mut self.device))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.device.mac_address())
    }
}

pub(crate) struct Receive<'a>(&'a mut [u8]);

impl embassy_net_driver::RxToken for Receive<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(crate) struct Transmit<'a>(&'a mut Inner);

impl embassy_net_driver::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = [0; MTU];
        let frame = frame.get_mut(..len).unwrap_or_default();
        let result = f(frame);
        // TCP handles a frame that is lost here like one that is lost on the wire.
        let _ = self.0.send(frame);
        result
    }
}
