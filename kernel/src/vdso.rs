//! The vDSO: the kernel's functions in the application's memory, and the page by which they know the time.
//!
//! Responsible for: the pages, and where they are mapped. Not for: what is in them (`vdso-image`), and when
//! the clock page changes ([`clock`], which writes it whenever the wall clock is set).
//!
//! To the memory map the two are objects like files, mapped privately: `[vvar]`, the clock page, and right
//! behind it `[vdso]`. Who makes them writable, as a debugger does for its breakpoints, writes to copies.

use alloc::{sync::Arc, vec::Vec};

use frames::{OutOfMemory, PAGE_SIZE, PageRef};
use linux_abi::{Errno, memory::Prot};
use spin::Once;
use vdso_image::{ClockPage, CpuNumber, IMAGE};
use vfs::{MemoryObject, ObjectName, PageAccess};

use crate::{
    arch::{clock, cpu},
    mm,
};

/// The two objects.
struct Vdso {
    clock_page: Arc<Pages>,
    image: Arc<Pages>,
}

static VDSO: Once<Vdso> = Once::new();

/// Memory that is there from the start, and stays.
struct Pages {
    name: &'static str,
    pages: Vec<PageRef>,
}

impl Pages {
    fn new(name: &'static str, pages: Vec<PageRef>) -> Arc<Self> {
        Arc::new(Self { name, pages })
    }

    fn len_bytes(&self) -> u64 {
        (self.pages.len() * PAGE_SIZE) as u64
    }
}

impl MemoryObject for Pages {
    fn page(&self, index: u64, access: PageAccess) -> Result<PageRef, Errno> {
        // It has no descriptor, so `map` below is all the mapping there is, and that is private.
        debug_assert_eq!(access, PageAccess::Read);
        self.cached_page(index).ok_or(Errno::EFAULT)
    }

    fn cached_page(&self, index: u64) -> Option<PageRef> {
        self.pages.get(usize::try_from(index).ok()?).cloned()
    }

    fn describe(&self) -> ObjectName {
        ObjectName { path: self.name.into(), device: 0, inode: 0 }
    }
}

/// Makes the pages, and has the clock keep its page up to date. Once, when the clock runs.
pub fn init() -> Result<(), OutOfMemory> {
    let clock_page = PageRef::new_zeroed()?;
    // SAFETY: zeros are a `ClockPage`, and of its alignment. All of its fields are atomics. `VDSO` keeps the
    // frame for ever.
    let shared = unsafe { &*clock_page.as_ptr().cast::<ClockPage>() };
    let image = IMAGE.chunks(PAGE_SIZE).map(|bytes| {
        let page = PageRef::new_zeroed()?;
        page.write(0, bytes);
        Ok(page)
    });
    let image = Pages::new("[vdso]", image.collect::<Result<_, OutOfMemory>>()?);
    VDSO.call_once(|| Vdso { clock_page: Pages::new("[vvar]", [clock_page].into()), image });
    // Every CPU has its index in IA32_TSC_AUX from its first steps on (`arch::cpu`).
    shared.set_cpu_number(match cpu::features() {
        features if features.rdpid => CpuNumber::Rdpid,
        features if features.rdtscp => CpuNumber::Rdtscp,
        _ => CpuNumber::SystemCall,
    });
    clock::share(shared);
    Ok(())
}

/// Maps the vDSO into the application; returns the address of its ELF header, for `AT_SYSINFO_EHDR`.
///
/// # Panics
/// Before [`init`].
pub fn map() -> Result<u64, Errno> {
    let Vdso { clock_page, image } = VDSO.get().expect("the vDSO is made before the program");
    let (clock_len, image_len) = (clock_page.len_bytes(), image.len_bytes());
    let clock_address = mm::reserve(clock_len + image_len)?;
    let image_address = clock_address + clock_len;
    mm::map_file(clock_address, clock_len, Prot::READ, clock_page.clone(), 0)?;
    mm::map_file(image_address, image_len, Prot::READ | Prot::EXEC, image.clone(), 0)?;
    Ok(image_address)
}
