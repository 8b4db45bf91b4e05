//! Runs a command line in a VM: the part of a start that has Java in it.
//!
//! Everything that can be told in Java is left to `sun.launcher.LauncherHelper`, which is what makes
//! messages, manifests, modules and source files behave as with the `java` command. The order of the
//! steps and the exit statuses are the launcher's (`JavaMain`).

use std::ffi::{CStr, CString};

use crate::command_line::{CommandLine, Usage};
use crate::gc_assist;
use crate::java_home::{Availability, KnownVm};
use crate::jni::{Argument, JniResult, LibJvm, Local, Pending, Vm};
use crate::report::{Stream, print_error};

const NO_VM: &[u8] =
    b"Error: Could not create the Java Virtual Machine.\nError: A fatal exception has occurred. Program will exit.";
const JNI_FAILURE: &[u8] = b"Error: A JNI error has occurred, please check your installation and try again";
const NO_DETACH: &[u8] = b"Error: Could not detach main thread.";

/// What the help text calls this program: it stands in for that one.
const PROGRAM_NAME: &CStr = c"java";

/// Makes the VM in the calling thread, runs the program, waits for its threads and returns the exit
/// status; `System.exit` ends the process without returning.
pub fn run(libjvm: LibJvm, line: &CommandLine, known_vms: &[KnownVm]) -> i32 {
    let options: Option<Vec<CString>> =
        line.vm_options.iter().map(|option| CString::new(option.clone()).ok()).collect();
    let Some(vm) = options.and_then(|options| libjvm.create_vm(&options)) else {
        print_error(NO_VM);
        // As the launcher: threads the VM has already made do not matter any more.
        std::process::exit(1);
    };
    gc_assist::announce();
    let status = show(&vm, line, known_vms).unwrap_or_else(|| main(&vm, line));
    let (detached, vm) = vm.detach();
    if !detached {
        print_error(NO_DETACH);
    }
    vm.destroy();
    if detached { status } else { 1 }
}

/// Shows what was asked for; returns the status if that was all.
fn show(vm: &Vm, line: &CommandLine, known_vms: &[KnownVm]) -> Option<i32> {
    let show = &line.show;
    let helper = || vm.boot_class(c"sun/launcher/LauncherHelper").inspect_err(|_| print_error(JNI_FAILURE));
    let on_error = Argument::Boolean(line.show_on == Stream::Error);
    if let Some(settings) = &show.settings {
        let shown = helper().and_then(|helper| {
            let settings = new_string(vm, settings)?;
            vm.call_void(
                &helper,
                c"showSettings",
                c"(ZLjava/lang/String;JJJ)V",
                &[
                    Argument::Boolean(true),
                    Argument::Object(&settings),
                    Argument::Long(line.initial_heap_bytes),
                    Argument::Long(line.max_heap_bytes),
                    Argument::Long(line.stack_bytes),
                ],
            )
        });
        if let Some(status) = status_if_thrown(vm, shown, 1) {
            return Some(status);
        }
    }
    if show.resolved_modules {
        let shown = helper().and_then(|helper| vm.call_void(&helper, c"showResolvedModules", c"()V", &[]));
        if let Some(status) = status_if_thrown(vm, shown, 1) {
            return Some(status);
        }
    }
    if show.modules {
        let shown = helper().and_then(|helper| vm.call_void(&helper, c"listModules", c"()V", &[]));
        return status_if_thrown(vm, shown, 1).or(Some(0));
    }
    if let Some(module) = &show.module {
        let shown = helper().and_then(|helper| {
            let module = platform_string(vm, &helper, module)?;
            let arguments = [Argument::Object(&module)];
            vm.call_void(&helper, c"describeModule", c"(Ljava/lang/String;)V", &arguments)
        });
        return status_if_thrown(vm, shown, 1).or(Some(0));
    }
    if show.version || show.version_and_run {
        // `println` is `print` and an empty line.
        let method = if show.version_and_run { c"println" } else { c"print" };
        let shown = vm.boot_class(c"java/lang/VersionProps").and_then(|class| {
            vm.call_void(&class, method, c"(Z)V", &[Argument::Boolean(line.show_on == Stream::Error)])
        });
        if let Some(status) = status_if_thrown(vm, shown, 0) {
            return Some(status);
        }
        if show.version {
            return Some(0);
        }
    }
    if line.validate_modules {
        // The VM has validated them while it started, and would have ended there.
        return Some(0);
    }
    if show.usage.is_some() || line.target.is_none() {
        let shown = helper().and_then(|helper| match show.usage {
            Some(Usage::ExtraOptions) => vm.call_void(&helper, c"printXUsageMessage", c"(Z)V", &[on_error]),
            _ => print_usage(vm, &helper, known_vms, on_error),
        });
        return status_if_thrown(vm, shown, 1).or(Some(0));
    }
    None
}

fn print_usage(vm: &Vm, helper: &Local<'_>, known_vms: &[KnownVm], on_error: Argument<'_>) -> JniResult<()> {
    let name = vm.new_string(PROGRAM_NAME)?;
    vm.call_void(helper, c"initHelpMessage", c"(Ljava/lang/String;)V", &[Argument::Object(&name)])?;
    // The default VM needs no option. Selectable ones come first, then synonyms.
    let others = known_vms.get(1..).unwrap_or_default();
    for known in others.iter().filter(|known| known.availability == Availability::Known) {
        let (option, name) = (new_string(vm, &known.name)?, new_string(vm, &known.name[1..])?);
        append(vm, helper, c"appendVmSelectMessage", &option, &name)?;
    }
    for known in others {
        if let Availability::AliasOf(alias) = &known.availability {
            let (option, name) = (new_string(vm, &known.name)?, new_string(vm, &alias[1..])?);
            append(vm, helper, c"appendVmSynonymMessage", &option, &name)?;
        }
    }
    vm.call_void(helper, c"printHelpMessage", c"(Z)V", &[on_error])
}

fn append(vm: &Vm, helper: &Local<'_>, method: &CStr, one: &Local<'_>, two: &Local<'_>) -> JniResult<()> {
    let arguments = [Argument::Object(one), Argument::Object(two)];
    vm.call_void(helper, method, c"(Ljava/lang/String;Ljava/lang/String;)V", &arguments)
}

/// Loads the main class and runs it; a mistake on the way gives status 1.
fn main(vm: &Vm, line: &CommandLine) -> i32 {
    let prepared = prepare(vm, line);
    let Ok((class, arguments)) = prepared else {
        // The launcher's wrappers remark on the missing result, and then on the exception.
        print_error(JNI_FAILURE);
        if vm.exception_pending() {
            vm.describe_exception();
        }
        return 1;
    };
    if line.dry_run {
        return 0;
    }
    let ran = vm.call_void(&class, c"main", c"([Ljava/lang/String;)V", &[Argument::Object(&arguments)]);
    // What main threw is reported when this thread is detached, by its uncaught-exception handler.
    i32::from(ran.is_err())
}

fn prepare<'vm>(vm: &'vm Vm, line: &CommandLine) -> JniResult<(Local<'vm>, Local<'vm>)> {
    let helper = vm.boot_class(c"sun/launcher/LauncherHelper")?;
    let target = platform_string(vm, &helper, line.target.as_deref().unwrap_or_default())?;
    // It checks that there is a proper main method, too, and ends the VM itself if not.
    let class = vm.call_object(
        &helper,
        c"checkAndLoadMain",
        c"(ZILjava/lang/String;)Ljava/lang/Class;",
        &[Argument::Boolean(true), Argument::Int(line.mode as i32), Argument::Object(&target)],
    )?;
    let string_class = vm.boot_class(c"java/lang/String")?;
    let arguments = vm.new_object_array(&string_class, line.arguments.len(), |index| {
        platform_string(vm, &helper, &line.arguments[index])
    })?;
    Ok((class, arguments))
}

/// Makes a string of bytes in the platform's encoding (`sun.jnu.encoding`).
fn platform_string<'vm>(vm: &'vm Vm, helper: &Local<'vm>, bytes: &[u8]) -> JniResult<Local<'vm>> {
    let array = vm.new_byte_array(bytes)?;
    let arguments = [Argument::Boolean(true), Argument::Object(&array)];
    let string = vm.call_object(helper, c"makePlatformString", c"(Z[B)Ljava/lang/String;", &arguments)?;
    vm.delete(array);
    Ok(string)
}

fn new_string<'vm>(vm: &'vm Vm, text: &[u8]) -> JniResult<Local<'vm>> {
    vm.new_string(&CString::new(text).map_err(|_| Pending)?)
}

/// If Java threw, describes it and returns `status`.
fn status_if_thrown(vm: &Vm, result: JniResult<()>, status: i32) -> Option<i32> {
    (result.is_err() && vm.exception_pending()).then(|| {
        vm.describe_exception();
        status
    })
}
