use super::*;

fn platform(words: &[&str]) -> Vec<PlatformString> {
    words.iter().map(|w| w.as_bytes().to_vec()).collect()
}

fn line(words: &[&str]) -> CommandLine {
    match parse(&platform(words), None, &mut Report::default()) {
        Ok(Decision::Start(line)) => *line,
        other => panic!("{other:?}"),
    }
}

fn refusal(words: &[&str]) -> String {
    let refusal = parse(&platform(words), None, &mut Report::default()).unwrap_err();
    assert_eq!(refusal.status, 1);
    String::from_utf8(refusal.message).unwrap()
}

fn options(line: &CommandLine) -> Vec<&str> {
    line.vm_options.iter().map(|o| std::str::from_utf8(o).unwrap()).collect()
}

#[test]
fn a_class_gets_the_current_directory_as_class_path() {
    let line = line(&["-Da=b", "Main", "-x", "y"]);
    assert_eq!(line.mode, Mode::Class);
    assert_eq!(line.target.as_deref(), Some(&b"Main"[..]));
    assert_eq!(line.arguments, platform(&["-x", "y"]));
    assert_eq!(
        options(&line),
        ["-Da=b", "-Djava.class.path=.", "-Dsun.java.command=Main -x y", "-Dsun.java.launcher=SUN_STANDARD"]
    );
}

#[test]
fn a_jar_replaces_the_class_path() {
    let line = line(&["-cp", "x", "-jar", "app.jar", "1"]);
    assert_eq!(line.mode, Mode::Jar);
    assert_eq!(options(&line)[..2], ["-Djava.class.path=x", "-Djava.class.path=app.jar"]);
    assert_eq!(line.arguments, platform(&["1"]));
}

#[test]
fn module_options_become_the_vms_long_form() {
    let line = line(&["-p", "mods", "--add-opens", "a/b=c", "--add-modules=d", "-m", "app/pkg.Main", "z"]);
    assert_eq!(line.mode, Mode::Module);
    assert_eq!(line.target.as_deref(), Some(&b"app/pkg.Main"[..]));
    assert_eq!(
        options(&line)[..4],
        ["--module-path=mods", "--add-opens=a/b=c", "--add-modules=d", "-Djdk.module.main=app"]
    );
}

#[test]
fn a_missing_value_is_refused_with_the_launchers_words() {
    assert_eq!(refusal(&["-cp"]), "Error: -cp requires class path specification");
    assert_eq!(refusal(&["-cp", "-x"]), "Error: -cp requires class path specification");
    assert_eq!(refusal(&["-p"]), "Error: -p requires module path specification");
    assert_eq!(refusal(&["--module-path="]), "Error: --module-path= requires modules to be specified");
    assert_eq!(refusal(&["--add-reads"]), "Error: --add-reads requires modules to be specified");
    assert_eq!(refusal(&["-m"]), "Error: -m requires module name");
    assert_eq!(refusal(&["--source"]), "Error: --source requires source version");
    assert_eq!(refusal(&["--source", "17", "-jar", "x"]), "Error: Option -jar is not allowed with --source");
}

#[test]
fn an_empty_add_opens_is_left_to_the_vm() {
    assert_eq!(options(&line(&["--add-opens=", "Main"]))[0], "--add-opens=");
}

#[test]
fn the_stack_is_never_made_too_small_to_refuse_it() {
    assert_eq!(line(&["-Xss1k", "Main"]).stack_bytes, SMALLEST_STACK_BYTES);
    assert_eq!(line(&["-ss2m", "Main"]).stack_bytes, 2 << 20);
    assert_eq!(line(&["-Xss0", "Main"]).stack_bytes, 0);
    assert_eq!(line(&["-Xss1kb", "Main"]).stack_bytes, 0);
}

#[test]
fn nothing_to_run_is_a_status_of_one_unless_something_was_shown() {
    assert_eq!(line(&[]).status, 1);
    assert_eq!(line(&["--list-modules"]).status, 0);
    assert_eq!(line(&["-version", "Main"]).target, None);
    assert_eq!(line(&["-jar"]).show.usage, Some(Usage::Standard));
}

#[test]
fn the_jar_is_looked_at_even_behind_other_options() {
    let mut report = Report::default();
    assert_eq!(
        jar_to_check(&platform(&["-jar", "-cp", "x", "-version", "a.jar"]), &mut report),
        Some(&b"a.jar"[..])
    );
    assert_eq!(jar_to_check(&platform(&["-cp", "-jar"]), &mut report), None);
    assert_eq!(jar_to_check(&platform(&["Main", "-jar"]), &mut report), None);
}

#[test]
fn sizes_are_read_as_hotspot_reads_them() {
    assert_eq!(parse_size(b"10"), Some(10));
    assert_eq!(parse_size(b"3K"), Some(3 << 10));
    assert_eq!(parse_size(b"1t"), Some(1 << 40));
    assert_eq!(parse_size(b"m"), None);
    assert_eq!(parse_size(b"1mb"), None);
    assert_eq!(parse_size(b"-1"), None);
}
