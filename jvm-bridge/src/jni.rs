//! The JNI invocation interface: loads `libjvm.so`, makes the VM, calls static methods. All of the
//! launcher's `unsafe` is here.
//!
//! Only the functions a launcher needs are named, by their index in the function tables of the JNI
//! specification, chapter 4 ("Interface Function Table") and 5 ("The Invocation API"); the indices
//! are part of JNI's binary interface and never change. Methods are called through the `...MethodA`
//! variants, which take an array of `jvalue` and need no C varargs.
//!
//! A [`Vm`] belongs to the thread that made it (it holds raw pointers and so is neither `Send` nor
//! `Sync`), and a [`Local`] cannot outlive it. There is no lock: the VM has its own.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{NonNull, null, null_mut};

use crate::vm_structs::{Missing, VmStructs};

/// `JNI_VERSION_1_2`, what the launcher asks for; HotSpot takes any later version for the same.
const VERSION_1_2: i32 = 0x0001_0002;
/// Unsupported since JDK 1.2, and yet the way to ask HotSpot for its default stack size.
const VERSION_1_1: i32 = 0x0001_0001;
const OK: i32 = 0;

/// Indices into `JNIInvokeInterface`.
mod vm_index {
    pub const DESTROY: usize = 3;
    pub const DETACH: usize = 5;
}

/// Indices into `JNINativeInterface`.
mod env_index {
    pub const EXCEPTION_DESCRIBE: usize = 16;
    pub const DELETE_LOCAL_REF: usize = 23;
    pub const GET_STATIC_METHOD_ID: usize = 113;
    pub const CALL_STATIC_OBJECT_METHOD_A: usize = 116;
    pub const CALL_STATIC_VOID_METHOD_A: usize = 143;
    pub const NEW_STRING_UTF: usize = 167;
    pub const NEW_OBJECT_ARRAY: usize = 172;
    pub const SET_OBJECT_ARRAY_ELEMENT: usize = 174;
    pub const NEW_BYTE_ARRAY: usize = 176;
    pub const SET_BYTE_ARRAY_REGION: usize = 208;
    pub const EXCEPTION_CHECK: usize = 228;
}

/// A `JNIEnv` or a `JavaVM`: a pointer to a table of functions.
#[repr(C)]
struct Interface {
    functions: *const *const c_void,
}

#[repr(C)]
struct VmOption {
    text: *const c_char,
    extra_info: *const c_void,
}

#[repr(C)]
struct VmInitArguments {
    version: i32,
    option_count: i32,
    options: *const VmOption,
    ignore_unrecognized: u8,
}

/// `JDK1_1InitArgs`; only the stack size is of use, and HotSpot writes nothing else.
#[repr(C)]
struct InitArguments1_1 {
    version: i32,
    properties: *const *const c_char,
    check_source: i32,
    native_stack_bytes: i32,
    java_stack_bytes: i32,
    min_heap_bytes: i32,
    max_heap_bytes: i32,
    verify_mode: i32,
    class_path: *const c_char,
    hooks: [*const c_void; 3],
    enable_class_gc: i32,
    enable_verbose_gc: i32,
    disable_async_gc: i32,
    verbose: i32,
    debugging: u8,
    debug_port: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
union JValue {
    boolean: u8,
    int: i32,
    long: i64,
    object: *mut c_void,
}

type CreateVm = unsafe extern "C" fn(*mut *mut Interface, *mut *mut Interface, *const VmInitArguments) -> i32;
type DefaultArguments = unsafe extern "C" fn(*mut InitArguments1_1) -> i32;
type FindBootClass = unsafe extern "C" fn(*mut Interface, *const c_char) -> *mut c_void;

/// A loaded `libjvm.so`. It is never unloaded: HotSpot cannot be.
#[derive(Clone, Copy)]
pub struct LibJvm {
    /// What dlopen gave, as a number: it may be used from any thread.
    handle: usize,
    create: CreateVm,
    default_arguments: DefaultArguments,
    find_boot_class: FindBootClass,
}

impl LibJvm {
    /// Loads the library, with its symbols global: the runtime's other libraries look for them.
    ///
    /// # Errors
    /// What `dlerror(3)` says.
    pub fn open(path: &CStr) -> Result<Self, Vec<u8>> {
        // SAFETY: `path` is a C string. The library's initialisers are HotSpot's, which the caller
        // means to run; no other thread of this program exists yet that they could disturb.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        let Some(handle) = NonNull::new(handle) else { return Err(last_error()) };
        let symbol = |name: &CStr| {
            // SAFETY: the handle comes from a dlopen that succeeded and is never closed; `name` is a
            // C string.
            NonNull::new(unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) }).ok_or_else(last_error)
        };
        let create = symbol(c"JNI_CreateJavaVM")?;
        let default_arguments = symbol(c"JNI_GetDefaultJavaVMInitArgs")?;
        let find_boot_class = symbol(c"JVM_FindClassFromBootLoader")?;
        // SAFETY: the first two have these types by the JNI specification, the third by HotSpot's
        // jvm.h, where it stands for the launcher's use.
        unsafe {
            Ok(Self {
                handle: handle.as_ptr() as usize,
                create: std::mem::transmute::<NonNull<c_void>, CreateVm>(create),
                default_arguments: std::mem::transmute::<NonNull<c_void>, DefaultArguments>(
                    default_arguments,
                ),
                find_boot_class: std::mem::transmute::<NonNull<c_void>, FindBootClass>(find_boot_class),
            })
        }
    }

    /// Where the library was loaded: what the addresses in its file are counted from.
    pub fn load_address(&self) -> Option<usize> {
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: dladdr only reads the loader's lists, and fills the structure in, which is valid if zeroed.
        unsafe {
            let found = libc::dladdr(self.create as *const c_void, info.as_mut_ptr()) != 0;
            found.then(|| info.assume_init().dli_fbase as usize)
        }
    }

    /// HotSpot's description of its insides.
    pub fn vm_structs(&self) -> Result<VmStructs, Missing> {
        // SAFETY: the handle comes from a dlopen that succeeded, and is never closed.
        unsafe { VmStructs::read(self.handle as *mut c_void) }
    }

    /// The VM's default stack size for a Java thread in bytes; 0 if it leaves that to the system.
    pub fn default_stack_bytes(&self) -> usize {
        let mut arguments = InitArguments1_1 {
            version: VERSION_1_1,
            properties: null(),
            check_source: 0,
            native_stack_bytes: 0,
            java_stack_bytes: 0,
            min_heap_bytes: 0,
            max_heap_bytes: 0,
            verify_mode: 0,
            class_path: null(),
            hooks: [null(); 3],
            enable_class_gc: 0,
            enable_verbose_gc: 0,
            disable_async_gc: 0,
            verbose: 0,
            debugging: 0,
            debug_port: 0,
        };
        // The result says that version 1.1 is not supported; the stack size is filled in all the same.
        // SAFETY: the structure is JDK 1.1's, as its version says, and outlives the call.
        unsafe { (self.default_arguments)(&raw mut arguments) };
        usize::try_from(arguments.java_stack_bytes).unwrap_or(0)
    }

    /// Makes the VM, with the calling thread as its main thread. `None` if it refuses; it has then
    /// said why on its own.
    pub fn create_vm(&self, options: &[CString]) -> Option<Vm> {
        let options: Vec<_> =
            options.iter().map(|text| VmOption { text: text.as_ptr(), extra_info: null() }).collect();
        let arguments = VmInitArguments {
            version: VERSION_1_2,
            option_count: i32::try_from(options.len()).ok()?,
            options: options.as_ptr(),
            ignore_unrecognized: 0,
        };
        let (mut vm, mut env) = (null_mut(), null_mut());
        // SAFETY: the out-pointers are valid for a write each; the options are `option_count` C
        // strings that outlive the call (HotSpot copies what it keeps).
        let result = unsafe { (self.create)(&raw mut vm, &raw mut env, &raw const arguments) };
        if result != OK {
            return None;
        }
        Some(Vm { vm: NonNull::new(vm)?, env: NonNull::new(env)?, find_boot_class: self.find_boot_class })
    }
}

fn last_error() -> Vec<u8> {
    // SAFETY: dlerror takes nothing; its result, if not null, is a C string that lives until the next
    // dl call of this thread, and is copied before.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { Vec::new() } else { CStr::from_ptr(text).to_bytes().to_vec() }
    }
}

/// The running VM, seen from its main thread.
pub struct Vm {
    vm: NonNull<Interface>,
    env: NonNull<Interface>,
    find_boot_class: FindBootClass,
}

/// A local reference to a Java object.
pub struct Local<'vm> {
    object: NonNull<c_void>,
    vm: PhantomData<&'vm Vm>,
}

/// An argument of a method call.
pub enum Argument<'a> {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Object(&'a Local<'a>),
}

impl Argument<'_> {
    fn to_jvalue(&self) -> JValue {
        // All eight bytes are written, whatever the kind.
        let mut value = JValue { long: 0 };
        match self {
            Self::Boolean(boolean) => value.boolean = u8::from(*boolean),
            Self::Int(int) => value.int = *int,
            Self::Long(long) => value.long = *long,
            Self::Object(local) => value.object = local.object.as_ptr(),
        }
        value
    }

    fn fits(&self, descriptor: u8) -> bool {
        match self {
            Self::Boolean(_) => descriptor == b'Z',
            Self::Int(_) => descriptor == b'I',
            Self::Long(_) => descriptor == b'J',
            Self::Object(_) => matches!(descriptor, b'L' | b'['),
        }
    }
}

/// A Java exception is pending in the VM, or the VM lacks what was asked for.
#[derive(Debug)]
pub struct Pending;

/// The result of anything that can throw.
pub type JniResult<T> = Result<T, Pending>;

impl Vm {
    /// Looks a class up in the boot loader; `name` has slashes.
    pub fn boot_class(&self, name: &CStr) -> JniResult<Local<'_>> {
        // SAFETY: the environment is this thread's; `name` is a C string.
        let class = unsafe { (self.find_boot_class)(self.env.as_ptr(), name.as_ptr()) };
        self.local(class)
    }

    /// Calls a static method that returns an object.
    ///
    /// # Panics
    /// If the arguments' kinds are not those of the descriptor: the VM would not notice.
    pub fn call_object<'vm>(
        &'vm self,
        class: &Local<'vm>,
        name: &CStr,
        descriptor: &CStr,
        arguments: &[Argument<'_>],
    ) -> JniResult<Local<'vm>> {
        let result = self.call(class, name, descriptor, arguments, env_index::CALL_STATIC_OBJECT_METHOD_A)?;
        self.local(result)
    }

    /// Calls a static method that returns nothing.
    ///
    /// # Panics
    /// As for [`Vm::call_object`].
    pub fn call_void(
        &self,
        class: &Local<'_>,
        name: &CStr,
        descriptor: &CStr,
        arguments: &[Argument<'_>],
    ) -> JniResult<()> {
        self.call(class, name, descriptor, arguments, env_index::CALL_STATIC_VOID_METHOD_A)?;
        Ok(())
    }

    fn call(
        &self,
        class: &Local<'_>,
        name: &CStr,
        descriptor: &CStr,
        arguments: &[Argument<'_>],
        function: usize,
    ) -> JniResult<*mut c_void> {
        type GetMethod =
            unsafe extern "C" fn(*mut Interface, *mut c_void, *const c_char, *const c_char) -> *mut c_void;
        type CallObject =
            unsafe extern "C" fn(*mut Interface, *mut c_void, *mut c_void, *const JValue) -> *mut c_void;
        type CallVoid = unsafe extern "C" fn(*mut Interface, *mut c_void, *mut c_void, *const JValue);

        let (parameters, result) = split_descriptor(descriptor.to_bytes());
        let returns_object = function == env_index::CALL_STATIC_OBJECT_METHOD_A;
        assert!(if returns_object { matches!(result, b'L' | b'[') } else { result == b'V' });
        assert!(parameters.len() == arguments.len());
        assert!(arguments.iter().zip(&parameters).all(|(argument, kind)| argument.fits(*kind)));
        let values: Vec<_> = arguments.iter().map(Argument::to_jvalue).collect();

        let (env, class) = (self.env.as_ptr(), class.object.as_ptr());
        // SAFETY: the index and the type are GetStaticMethodID's; the class is a live local reference
        // of this thread and both strings are C strings.
        let method = unsafe {
            let get: GetMethod = self.env_function(env_index::GET_STATIC_METHOD_ID);
            get(env, class, name.as_ptr(), descriptor.as_ptr())
        };
        if method.is_null() {
            return Err(Pending);
        }
        // SAFETY: the method belongs to the class, and the values are as many and of the kinds that
        // its descriptor names (asserted above); the function's type is that of its index.
        let object = unsafe {
            if returns_object {
                self.env_function::<CallObject>(function)(env, class, method, values.as_ptr())
            } else {
                self.env_function::<CallVoid>(function)(env, class, method, values.as_ptr());
                null_mut()
            }
        };
        if self.exception_pending() { Err(Pending) } else { Ok(object) }
    }

    /// Makes a string from modified UTF-8 (plain UTF-8 without NUL or supplementary characters).
    pub fn new_string(&self, text: &CStr) -> JniResult<Local<'_>> {
        type NewString = unsafe extern "C" fn(*mut Interface, *const c_char) -> *mut c_void;
        // SAFETY: the index and the type are NewStringUTF's, and `text` is a C string.
        let string = unsafe {
            self.env_function::<NewString>(env_index::NEW_STRING_UTF)(self.env.as_ptr(), text.as_ptr())
        };
        self.local(string)
    }

    /// Makes a `byte[]`.
    pub fn new_byte_array(&self, bytes: &[u8]) -> JniResult<Local<'_>> {
        type NewArray = unsafe extern "C" fn(*mut Interface, i32) -> *mut c_void;
        type SetRegion = unsafe extern "C" fn(*mut Interface, *mut c_void, i32, i32, *const i8);
        let length = i32::try_from(bytes.len()).map_err(|_| Pending)?;
        // SAFETY: the index and the type are NewByteArray's.
        let array =
            unsafe { self.env_function::<NewArray>(env_index::NEW_BYTE_ARRAY)(self.env.as_ptr(), length) };
        let array = self.local(array)?;
        // SAFETY: the index and the type are SetByteArrayRegion's; array and slice have `length` bytes.
        unsafe {
            let set: SetRegion = self.env_function(env_index::SET_BYTE_ARRAY_REGION);
            set(self.env.as_ptr(), array.object.as_ptr(), 0, length, bytes.as_ptr().cast());
        }
        Ok(array)
    }

    /// Makes an array of `class` with the elements that `element` makes, one after the other.
    pub fn new_object_array<'vm>(
        &'vm self,
        class: &Local<'vm>,
        length: usize,
        mut element: impl FnMut(usize) -> JniResult<Local<'vm>>,
    ) -> JniResult<Local<'vm>> {
        type NewArray = unsafe extern "C" fn(*mut Interface, i32, *mut c_void, *mut c_void) -> *mut c_void;
        type SetElement = unsafe extern "C" fn(*mut Interface, *mut c_void, i32, *mut c_void);
        let count = i32::try_from(length).map_err(|_| Pending)?;
        // SAFETY: the index and the type are NewObjectArray's; the class is a live local reference,
        // and a null initial element is allowed.
        let array = unsafe {
            let new: NewArray = self.env_function(env_index::NEW_OBJECT_ARRAY);
            new(self.env.as_ptr(), count, class.object.as_ptr(), null_mut())
        };
        let array = self.local(array)?;
        for index in 0..count {
            let value = element(usize::try_from(index).map_err(|_| Pending)?)?;
            // SAFETY: the index and the type are SetObjectArrayElement's; both references are live,
            // and the VM itself checks the index and the element's class.
            unsafe {
                let set: SetElement = self.env_function(env_index::SET_OBJECT_ARRAY_ELEMENT);
                set(self.env.as_ptr(), array.object.as_ptr(), index, value.object.as_ptr());
            }
            // There may be more arguments than the VM promises room for local references.
            self.delete(value);
            if self.exception_pending() {
                return Err(Pending);
            }
        }
        Ok(array)
    }

    /// Gives a local reference back before the VM ends.
    pub fn delete(&self, local: Local<'_>) {
        type Delete = unsafe extern "C" fn(*mut Interface, *mut c_void);
        // SAFETY: the index and the type are DeleteLocalRef's; the reference is live, and moved in
        // here, so that nobody can use it afterwards.
        unsafe {
            self.env_function::<Delete>(env_index::DELETE_LOCAL_REF)(
                self.env.as_ptr(),
                local.object.as_ptr(),
            );
        }
    }

    /// Whether a Java exception waits for this thread.
    pub fn exception_pending(&self) -> bool {
        type Check = unsafe extern "C" fn(*mut Interface) -> u8;
        // SAFETY: the index and the type are ExceptionCheck's.
        unsafe { self.env_function::<Check>(env_index::EXCEPTION_CHECK)(self.env.as_ptr()) != 0 }
    }

    /// Prints the pending exception with its stack trace to standard error, and clears it.
    pub fn describe_exception(&self) {
        type Describe = unsafe extern "C" fn(*mut Interface);
        // SAFETY: the index and the type are ExceptionDescribe's.
        unsafe { self.env_function::<Describe>(env_index::EXCEPTION_DESCRIBE)(self.env.as_ptr()) }
    }

    /// Detaches this thread, which hands a pending exception to its uncaught-exception handler, and
    /// tells whether that worked; what is left can only be destroyed.
    pub fn detach(self) -> (bool, DetachedVm) {
        type Detach = unsafe extern "C" fn(*mut Interface) -> i32;
        let vm = DetachedVm { vm: self.vm };
        // SAFETY: the index and the type are DetachCurrentThread's; this thread was attached by
        // making the VM, has no Java frame, and with `self` go all its local references.
        (unsafe { vm.function::<Detach>(vm_index::DETACH)(vm.vm.as_ptr()) == OK }, vm)
    }

    fn local(&self, object: *mut c_void) -> JniResult<Local<'_>> {
        match NonNull::new(object) {
            Some(object) if !self.exception_pending() => Ok(Local { object, vm: PhantomData }),
            _ => Err(Pending),
        }
    }

    /// # Safety
    /// `F` must be the function type of that index in `JNINativeInterface`.
    unsafe fn env_function<F: Copy>(&self, index: usize) -> F {
        // SAFETY: the environment is valid while this thread is attached, that is while `self` lives;
        // the rest is the caller's promise.
        unsafe { function(self.env, index) }
    }
}

/// The VM after its main thread has left it.
pub struct DetachedVm {
    vm: NonNull<Interface>,
}

impl DetachedVm {
    /// Waits until no non-daemon thread is left, runs the shutdown hooks, ends the VM.
    pub fn destroy(self) {
        type Destroy = unsafe extern "C" fn(*mut Interface) -> i32;
        // SAFETY: the index and the type are DestroyJavaVM's; it may be called by a detached thread.
        unsafe { self.function::<Destroy>(vm_index::DESTROY)(self.vm.as_ptr()) };
    }

    /// # Safety
    /// `F` must be the function type of that index in `JNIInvokeInterface`.
    unsafe fn function<F: Copy>(&self, index: usize) -> F {
        // SAFETY: the VM has not been destroyed, since that takes `self`; the rest is the caller's
        // promise.
        unsafe { function(self.vm, index) }
    }
}

/// Reads a function out of an interface's table.
///
/// # Safety
/// The interface must be live, and `F` the function type of that index in its table.
unsafe fn function<F: Copy>(interface: NonNull<Interface>, index: usize) -> F {
    const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
    // SAFETY: a live interface points to a table with an entry at each index that JNI defines; the
    // caller promises the type, whose size is a pointer's (checked above).
    unsafe { (*interface.as_ptr()).functions.add(index).cast::<F>().read() }
}

/// Returns the first character of each parameter's type, and of the result's (JVMS 4.3.3).
fn split_descriptor(descriptor: &[u8]) -> (Vec<u8>, u8) {
    let mut kinds = Vec::new();
    let mut rest = descriptor.iter().copied();
    let mut in_array = false;
    while let Some(kind) = rest.next() {
        match kind {
            b'(' => continue,
            b')' => return (kinds, rest.next().unwrap_or(0)),
            _ => {}
        }
        if !in_array {
            kinds.push(kind);
        }
        in_array = kind == b'[';
        if kind == b'L' {
            rest.by_ref().find(|&b| b == b';');
        }
    }
    (kinds, 0)
}

#[cfg(test)]
mod tests {
    use super::split_descriptor;

    #[test]
    fn descriptors_are_split_into_kinds() {
        assert_eq!(split_descriptor(b"()V"), (vec![], b'V'));
        assert_eq!(split_descriptor(b"(ZILjava/lang/String;)Ljava/lang/Class;"), (b"ZIL".to_vec(), b'L'));
        assert_eq!(split_descriptor(b"([[BJ[Ljava/lang/String;Z)[B"), (b"[J[Z".to_vec(), b'['));
    }
}
