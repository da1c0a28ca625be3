//! C functions that Mbed TLS needs and tinyrlibc lacks: `calloc` and `free`, on a heap whose use is counted, and the
//! functions of its log, which is off.

use core::{
    alloc::Layout,
    cell::RefCell,
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    ptr::{self, NonNull},
};

use critical_section::Mutex;
use linked_list_allocator::Heap;
use static_cell::StaticCell;

/// Size of the heap in bytes.
const SIZE: usize = 80 * 1024;

/// Number of bytes before an allocation. They store its length.
const HEADER: usize = 8;

static HEAP: Mutex<RefCell<Counted>> = Mutex::new(RefCell::new(Counted {
    heap: Heap::empty(),
    peak: 0,
}));

struct Counted {
    heap: Heap,
    peak: usize,
}

/// Creates the heap.
pub(crate) fn start() {
    static MEMORY: StaticCell<[MaybeUninit<u8>; SIZE]> = StaticCell::new();
    let memory = MEMORY.init([const { MaybeUninit::uninit() }; SIZE]);
    critical_section::with(|cs| HEAP.borrow_ref_mut(cs).heap.init_from_slice(memory));
}

/// Returns the bytes in use now, and their maximum since the start.
pub(crate) fn used() -> (usize, usize) {
    critical_section::with(|cs| {
        let counted = HEAP.borrow_ref(cs);
        (counted.heap.used(), counted.peak)
    })
}

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.checked_add(HEADER)?, HEADER).ok()
}

fn allocate(len: usize) -> Option<NonNull<u8>> {
    let layout = layout(len)?;
    let block = critical_section::with(|cs| {
        let mut counted = HEAP.borrow_ref_mut(cs);
        let block = counted.heap.allocate_first_fit(layout).ok()?;
        counted.peak = counted.peak.max(counted.heap.used());
        Some(block)
    })?;
    // SAFETY: the block has room for the header, and is aligned for it.
    unsafe {
        block.cast::<usize>().write(len);
        Some(block.add(HEADER))
    }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, len: usize) -> *mut c_void {
    let Some(len) = count.checked_mul(len) else {
        return ptr::null_mut();
    };
    let Some(bytes) = allocate(len) else {
        return ptr::null_mut();
    };
    // SAFETY: the allocation has this length.
    unsafe { bytes.write_bytes(0, len) };
    bytes.cast().as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(bytes: *mut c_void) {
    let Some(bytes) = NonNull::new(bytes.cast::<u8>()) else {
        return;
    };
    // SAFETY: `allocate` returned this address, and wrote the length before it.
    unsafe {
        let block = bytes.sub(HEADER);
        if let Some(layout) = layout(block.cast::<usize>().read()) {
            critical_section::with(|cs| HEAP.borrow_ref_mut(cs).heap.deallocate(block, layout));
        }
    }
}

/// Writes an empty text. The arguments after the format are not read.
#[unsafe(no_mangle)]
unsafe extern "C" fn snprintf(text: *mut c_char, len: usize, _format: *const c_char) -> c_int {
    if len > 0 {
        // SAFETY: there is room for this number of bytes.
        unsafe { text.write(0) };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn vsnprintf(
    text: *mut c_char,
    len: usize,
    format: *const c_char,
    _arguments: *mut c_void,
) -> c_int {
    // SAFETY: the same contract.
    unsafe { snprintf(text, len, format) }
}

#[unsafe(no_mangle)]
extern "C" fn printf(_format: *const c_char) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn puts(_text: *const c_char) -> c_int {
    0
}
