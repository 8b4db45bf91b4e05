//! Expands `@argfiles` and `JDK_JAVA_OPTIONS` into the launcher's argument list.
//!
//! Responsible for: the argument-file syntax of the `java` man page ("java Command-Line Argument
//! Files"), where the expansion stops (at the main class, at `--disable-@files`), and what the
//! environment variable may not contain. Not for: the meaning of any option but those that decide
//! where the application's own arguments begin. No state outlives `expand`; there is no lock.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::command_line::takes_argument;
use crate::report::{PlatformString, Refusal, Report};

/// The environment variable whose words go before the command line's.
pub const OPTIONS_VARIABLE: &str = "JDK_JAVA_OPTIONS";

/// The launcher refuses a larger argument file (the size must fit a C `int`).
const LARGEST_FILE_BYTES: u64 = 0x7fff_ffff;

/// Options after which the launcher looks no further: none may come from the environment.
const TERMINAL_OPTIONS: &[&[u8]] = &[
    b"-jar",
    b"-m",
    b"--module",
    b"--dry-run",
    b"-h",
    b"-?",
    b"-help",
    b"--help",
    b"-X",
    b"--help-extra",
    b"-version",
    b"--version",
    b"-fullversion",
    b"--full-version",
];

/// Returns the arguments with argument files replaced by their words, the environment's first.
///
/// # Errors
/// The launcher's own message, with status 1: an unreadable or oversized file, an open quote in the
/// environment variable, an option or a main class that is not allowed there.
pub fn expand(
    command_line: &[PlatformString],
    from_environment: Option<&[u8]>,
    report: &mut Report,
) -> Result<Vec<PlatformString>, Refusal> {
    let mut expander = Expander::default();
    let mut arguments = Vec::with_capacity(command_line.len());
    if let Some(text) = from_environment {
        report.note([b"NOTE: Picked up ", OPTIONS_VARIABLE.as_bytes(), b": ", text].concat());
        expander.expand_words(text, WordSource::Environment, &mut arguments)?;
    }
    for argument in command_line {
        // A `#!` line hands `--source 17 -cp x` over as one argument (JEP 330).
        let is_shebang_line = argument.starts_with(b"--source") && argument.contains(&b' ');
        if expander.before_main_class() && !expander.disabled && is_shebang_line {
            expander.expand_words(argument, WordSource::ShebangLine, &mut arguments)?;
            continue;
        }
        match expander.preprocess(argument)? {
            Some(words) => arguments.extend(words),
            None => arguments.push(argument.clone()),
        }
    }
    Ok(arguments)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WordSource {
    /// Quotes group words, and are removed.
    Environment,
    /// The kernel passed the line as it stands: a quote is a character like any other.
    ShebangLine,
}

/// Follows the arguments far enough to know where the launcher's end and the application's begin.
#[derive(Default)]
struct Expander {
    main_class_seen: bool,
    next_is_an_options_value: bool,
    disabled: bool,
}

impl Expander {
    fn before_main_class(&self) -> bool {
        !self.main_class_seen
    }

    /// Takes note of one final argument.
    fn observe(&mut self, argument: &[u8]) {
        if argument.starts_with(b"-") {
            self.next_is_an_options_value = false;
            if takes_argument(argument) {
                // The value of -m is the main class, and so ends the expansion.
                self.next_is_an_options_value = !matches!(argument, b"-jar" | b"--module" | b"-m");
            } else if argument == b"--disable-@files" {
                self.disabled = true;
            } else if argument.starts_with(b"--module=") {
                self.main_class_seen = true;
            }
        } else {
            if !self.next_is_an_options_value {
                self.main_class_seen = true;
            }
            self.next_is_an_options_value = false;
        }
    }

    /// Returns the words an argument stands for, or `None` if it stands for itself.
    fn preprocess(&mut self, argument: &[u8]) -> Result<Option<Vec<PlatformString>>, Refusal> {
        if self.main_class_seen {
            return Ok(None);
        }
        if self.disabled || !argument.starts_with(b"@") || argument.len() == 1 {
            self.observe(argument);
            return Ok(None);
        }
        let name = &argument[1..];
        if name.starts_with(b"@") {
            self.observe(name);
            return Ok(Some(vec![name.to_vec()]));
        }
        let words = tokenize(&read_argument_file(name)?);
        for word in &words {
            self.observe(word);
        }
        Ok(Some(words))
    }

    fn expand_words(
        &mut self,
        text: &[u8],
        source: WordSource,
        arguments: &mut Vec<PlatformString>,
    ) -> Result<(), Refusal> {
        for word in split_words(text, source)? {
            match self.preprocess(&word)? {
                None => {
                    if is_terminal(&word) {
                        return Err(not_allowed(&word, None, source));
                    }
                    arguments.push(word);
                }
                Some(words) => {
                    if let Some(bad) = words.iter().find(|w| is_terminal(w)) {
                        return Err(not_allowed(bad, Some(&word), source));
                    }
                    arguments.extend(words);
                }
            }
            // Looked at after every word: the main class can come out of an argument file as well.
            if self.main_class_seen {
                return Err(Refusal::new(
                    1,
                    match source {
                        WordSource::Environment => format!(
                            "Error: Cannot specify main class in environment variable {OPTIONS_VARIABLE}"
                        ),
                        WordSource::ShebangLine => {
                            "Error: Cannot specify main class in this context".to_owned()
                        }
                    },
                ));
            }
        }
        Ok(())
    }
}

fn is_terminal(argument: &[u8]) -> bool {
    TERMINAL_OPTIONS.contains(&argument) || argument.starts_with(b"--module=")
}

fn not_allowed(option: &[u8], file: Option<&[u8]>, source: WordSource) -> Refusal {
    let mut message = [b"Error: Option ", option].concat();
    if let Some(file) = file {
        message.extend_from_slice(b" in ");
        message.extend_from_slice(file);
    }
    message.extend_from_slice(match source {
        WordSource::Environment => b" is not allowed in environment variable JDK_JAVA_OPTIONS",
        WordSource::ShebangLine => b" is not allowed in this context",
    });
    Refusal::new(1, message)
}

fn read_argument_file(name: &[u8]) -> Result<Vec<u8>, Refusal> {
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    let unreadable = || Refusal::new(1, [b"Error: could not open `", name, b"'"].concat());
    let size = fs::metadata(path).map_err(|_| unreadable())?.len();
    if size > LARGEST_FILE_BYTES {
        return Err(Refusal::new(
            1,
            format!("Error: Argument file size should not be larger than {LARGEST_FILE_BYTES}."),
        ));
    }
    fs::read(path).map_err(|_| unreadable())
}

/// Splits at C's `isspace`, which counts the vertical tab.
fn split_words(text: &[u8], source: WordSource) -> Result<Vec<PlatformString>, Refusal> {
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let mut words = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    loop {
        while bytes.next_if(|&b| is_space(b)).is_some() {}
        if bytes.peek().is_none() {
            return Ok(words);
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|&b| !is_space(b)) {
            if source == WordSource::Environment && matches!(byte, b'"' | b'\'') {
                loop {
                    match bytes.next() {
                        Some(inner) if inner == byte => break,
                        Some(inner) => word.push(inner),
                        None => {
                            return Err(Refusal::new(
                                1,
                                format!("Error: Unmatched quote in environment variable {OPTIONS_VARIABLE}"),
                            ));
                        }
                    }
                }
            } else {
                word.push(byte);
            }
        }
        words.push(word);
    }
}

/// Where the reader of an argument file stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Comment,
    Word,
    Quoted(u8),
    Escape(u8),
    /// After a backslash at the end of a line inside quotes: leading blanks of the next are dropped.
    Continuation(u8),
}

/// Splits an argument file into words.
///
/// White space separates; `#` starts a comment; quotes group, may stand anywhere in a word, and end
/// with the line unless a backslash continues it; within quotes `\n \r \t \f` are escapes and any
/// other escaped character is itself. Outside quotes a backslash is an ordinary character.
fn tokenize(text: &[u8]) -> Vec<PlatformString> {
    let mut words = Vec::new();
    let mut word = PartialWord::default();
    let mut state = State::Between;
    for &byte in text {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\x0c');
        let is_line_end = matches!(byte, b'\n' | b'\r');
        state = match state {
            State::Between | State::Continuation(_) if is_blank || is_line_end => state,
            State::Comment if is_line_end => State::Between,
            State::Comment => State::Comment,
            State::Escape(quote) if is_line_end => State::Continuation(quote),
            State::Escape(quote) => {
                word.settled.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'f' => b'\x0c',
                    other => other,
                });
                State::Quoted(quote)
            }
            State::Word if is_blank || is_line_end => {
                words.push(word.take());
                State::Between
            }
            State::Quoted(_) if is_line_end => {
                words.push(word.take());
                State::Between
            }
            State::Between | State::Word => match byte {
                b'#' => {
                    word.tail.clear();
                    State::Comment
                }
                b'"' | b'\'' => {
                    word.settle();
                    State::Quoted(byte)
                }
                _ => {
                    word.tail.push(byte);
                    State::Word
                }
            },
            State::Quoted(quote) | State::Continuation(quote) => match byte {
                b'\\' => {
                    word.settle();
                    State::Escape(quote)
                }
                _ if byte == quote => {
                    word.settle();
                    State::Word
                }
                _ => {
                    word.tail.push(byte);
                    State::Quoted(quote)
                }
            },
        };
    }
    // An empty quoted word that ends the file is dropped, as the launcher drops it.
    if matches!(state, State::Word | State::Quoted(_)) && !word.is_empty() {
        words.push(word.take());
    }
    words
}

/// A word being read. A comment that starts inside a word removes what stands since the last quote
/// or escape and keeps what is before it; the launcher does so, and what it keeps begins the next word.
#[derive(Default)]
struct PartialWord {
    settled: PlatformString,
    tail: PlatformString,
}

impl PartialWord {
    fn settle(&mut self) {
        self.settled.append(&mut self.tail);
    }

    fn take(&mut self) -> PlatformString {
        self.settle();
        std::mem::take(&mut self.settled)
    }

    fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.tail.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokenize(text.as_bytes()).into_iter().map(|w| String::from_utf8(w).unwrap()).collect()
    }

    #[test]
    fn quotes_group_and_may_stand_inside_a_word() {
        assert_eq!(words("-Da='b c'd \"e f\""), ["-Da=b cd", "e f"]);
        assert_eq!(words("a \"\" b"), ["a", "", "b"]);
        assert_eq!(words("c:\\dir\\x"), ["c:\\dir\\x"]);
    }

    #[test]
    fn a_backslash_continues_a_quoted_line_and_escapes_within_quotes() {
        assert_eq!(words("\"a \\\n   b\" c"), ["a b", "c"]);
        assert_eq!(words("'x\\ty\\\\z\\q'"), ["x\ty\\zq"]);
        assert_eq!(words("\"open\nnext"), ["open", "next"]);
    }

    #[test]
    fn comments_run_to_the_end_of_the_line() {
        assert_eq!(words("# all\na # b c\nd"), ["a", "d"]);
        assert_eq!(words("abc#def\nghi"), ["ghi"]);
        assert_eq!(words("'q#r'"), ["q#r"]);
    }

    fn expand_words(line: &[&str], environment: Option<&str>) -> Result<Vec<String>, String> {
        let line: Vec<_> = line.iter().map(|a| a.as_bytes().to_vec()).collect();
        expand(&line, environment.map(str::as_bytes), &mut Report::default())
            .map(|v| v.into_iter().map(|w| String::from_utf8(w).unwrap()).collect())
            .map_err(|r| String::from_utf8(r.message).unwrap())
    }

    #[test]
    fn the_environments_words_come_first_and_may_not_name_a_program() {
        assert_eq!(expand_words(&["Main"], Some("-Da='x y' -ea")).unwrap(), ["-Da=x y", "-ea", "Main"]);
        assert_eq!(
            expand_words(&[], Some("-cp x Main")).unwrap_err(),
            "Error: Cannot specify main class in environment variable JDK_JAVA_OPTIONS"
        );
        assert_eq!(
            expand_words(&[], Some("-jar")).unwrap_err(),
            "Error: Option -jar is not allowed in environment variable JDK_JAVA_OPTIONS"
        );
        assert_eq!(
            expand_words(&[], Some("-Da='x")).unwrap_err(),
            "Error: Unmatched quote in environment variable JDK_JAVA_OPTIONS"
        );
    }

    #[test]
    fn expansion_ends_at_the_main_class() {
        assert_eq!(
            expand_words(&["-cp", "x", "Main", "@none"], None).unwrap(),
            ["-cp", "x", "Main", "@none"]
        );
        assert_eq!(expand_words(&["-m", "a/b", "@none"], None).unwrap(), ["-m", "a/b", "@none"]);
        assert_eq!(
            expand_words(&["-jar", "@@odd.jar", "@none"], None).unwrap(),
            ["-jar", "@odd.jar", "@none"]
        );
        assert_eq!(expand_words(&["-jar", "@none"], None).unwrap_err(), "Error: could not open `none'");
    }

    #[test]
    fn a_shebang_line_is_split() {
        assert_eq!(
            expand_words(&["--source 17 -Da=b", "Prog.java"], None).unwrap(),
            ["--source", "17", "-Da=b", "Prog.java"]
        );
    }
}
