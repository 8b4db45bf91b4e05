//! What HotSpot's crash report (`hs_err_pidN.log`) says in short: the thread that crashed, and its stack.
//!
//! The report is the guest's, and so not trusted: nothing but plain text of bounded length comes out of here.
//! Its layout is that of `VMError::report` (HotSpot, share/utilities/vmError.cpp).

use std::{fs::File, io::Read, path::Path};

/// As much of a report as is looked at: the stack stands near its front.
const READ_LIMIT_BYTES: u64 = 64 << 10;
/// Frames that are shown; the report has all.
const SHOWN_FRAMES: usize = 16;
/// What is shown of a line.
const SHOWN_CHARACTERS: usize = 160;

/// The thread and the frames, a line each; nothing for a file that is no such report.
pub fn backtrace(path: &Path) -> Vec<String> {
    let is_report = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hs_err_pid"));
    let mut bytes = Vec::new();
    if is_report && let Ok(file) = File::open(path) {
        // What could be read is there.
        let _ = file.take(READ_LIMIT_BYTES).read_to_end(&mut bytes);
    }
    lines_of(&String::from_utf8_lossy(&bytes))
}

fn lines_of(report: &str) -> Vec<String> {
    let thread = report.lines().find(|line| line.starts_with("Current thread"));
    let section = |title: &'static str| {
        let from_title = report.lines().skip_while(move |line| !line.starts_with(title));
        from_title.skip(1).take_while(|line| !line.is_empty()).take(SHOWN_FRAMES)
    };
    // The Java frames are among the native ones, where there are native ones.
    let mut frames: Vec<&str> = section("Native frames").collect();
    if frames.is_empty() {
        frames = section("Java frames").collect();
    }
    thread.into_iter().chain(frames).map(harmless).collect()
}

/// Without what could surprise a terminal.
fn harmless(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "#\n\n---------------  T H R E A D  ---------------\n\n\
        Current thread (0x00007f0430017d90):  JavaThread \"main\" [_thread_in_vm, id=2]\n\n\
        Stack: [0x1,0x2],  sp=0x1\n\
        Native frames: (J=compiled Java code, j=interpreted, Vv=VM code, C=native code)\n\
        V  [libjvm.so+0xeda1e4]  Unsafe_PutLong+0x124\n\
        j  Crash.main([Ljava/lang/String;)V+27\x1b\n\n\
        Java frames: (J=compiled Java code)\nj  Crash.main([Ljava/lang/String;)V+27\n\n";

    #[test]
    fn thread_and_frames_are_shown() {
        let thread = "Current thread (0x00007f0430017d90):  JavaThread \"main\" [_thread_in_vm, id=2]";
        let frames =
            ["V  [libjvm.so+0xeda1e4]  Unsafe_PutLong+0x124", "j  Crash.main([Ljava/lang/String;)V+27 "];
        assert_eq!(lines_of(REPORT), [[thread].as_slice(), &frames].concat());
        let java_only = REPORT.replace("Native frames", "Other");
        assert_eq!(lines_of(&java_only), [thread, "j  Crash.main([Ljava/lang/String;)V+27"]);
    }

    #[test]
    fn what_is_no_report_shows_nothing() {
        assert_eq!(lines_of(""), [""; 0]);
        assert_eq!(lines_of("hello\nworld\n"), [""; 0]);
        let endless = format!("Native frames\n{}", "frame\n".repeat(1000));
        assert_eq!(lines_of(&endless).len(), SHOWN_FRAMES);
        assert!(lines_of(&format!("Current thread {}", "x".repeat(1 << 16)))[0].len() <= SHOWN_CHARACTERS);
    }
}
