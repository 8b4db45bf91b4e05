//! Volumes, as a user has them: made, used, locked, filled, taken from Linux, damaged, exported and imported.
//!
//! The program in the guests is `tests/tool/volume.c`; what it is told to do are its arguments.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use super::{Call, Ended, Fixture, Verdict, call, expect};

const TOOL_FAILED: Option<i32> = Some(125);

/// A folder for the volumes of one test, and the program.
struct Volumes<'a> {
    fixture: &'a Fixture,
    data: PathBuf,
    program: String,
}

impl<'a> Volumes<'a> {
    fn new(fixture: &'a Fixture, name: &str) -> Result<Self, String> {
        let data = PathBuf::from(fixture.path(name));
        // What a first try left.
        let _ = fs::remove_dir_all(&data);
        fs::create_dir(&data).map_err(|error| error.to_string())?;
        let program = data.join("volume").display().to_string();
        let source = fixture.root.join("tests/tool/volume.c");
        host("cc", &["-O1", "-Wall", "-o", &program, &source.display().to_string()])?;
        Ok(Self { fixture, data, program })
    }

    fn path(&self, name: &str) -> String {
        self.data.join(name).display().to_string()
    }

    /// Where the tool keeps a volume with this name.
    fn named(&self, name: &str) -> String {
        self.path(&format!("crema/volumes/{name}.img"))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.fixture.command(words);
        command.env("XDG_DATA_HOME", &self.data);
        command
    }

    /// `crema volume`.
    fn tool(&self, words: &[&str]) -> Result<Ended, String> {
        call(self.command(&[&["volume"], words].concat()))
    }

    /// `crema run` of the program with these volumes, and what it is to do.
    fn run(&self, options: &[&str], volumes: &[&str], args: &[&str]) -> Command {
        let mut command = self.command(&["run", "--program", &self.program]);
        command.args(&self.fixture.common).args(options);
        for volume in volumes {
            command.args(["--volume", volume]);
        }
        command.arg("--").args(args);
        command
    }

    /// Runs it to its end, which has to be a good one, and compares what it prints.
    fn prints(&self, volumes: &[&str], args: &[&str], expected: &str) -> Result<Ended, String> {
        let ended = call(self.run(&[], volumes, args))?;
        expect(&format!("status after {args:?}"), ended.status, Some(0), &ended)?;
        expect("standard output", ended.stdout.as_str(), expected, &ended)?;
        Ok(ended)
    }
}

/// Runs a program of the host, and returns its output.
fn host(name: &str, args: &[&str]) -> Result<String, String> {
    // Those of e2fsprogs are not on everybody's path.
    let sbin = Path::new("/sbin").join(name);
    let program = if sbin.is_file() { sbin } else { name.into() };
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{name} {args:?}: {}\n{text}", output.status))
    }
}

fn is_sound(volume: &str) -> Verdict {
    host("e2fsck", &["-f", "-n", volume]).map(drop)
}

fn says(ended: &Ended, what: &str) -> Verdict {
    expect(&format!("whether it says {what:?}"), ended.stderr.contains(what), true, ended)
}

fn refuses(ended: &Ended, what: &str) -> Verdict {
    expect("status", ended.status, TOOL_FAILED, ended)?;
    says(ended, what)
}

/// What is written to a volume is there in the next run, on another kind of machine, and for Linux's own tools.
pub fn keep_their_data(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "keep")?;
    let mounted = "/dev/vdb /data ext4 rw 254:16 agree\n/dev/vdc /data/in/ner ext4 rw 254:32 agree\n";
    // The inner one is given first.
    let given = ["inner:/data/in/ner,size=32M", "outer:/data,size=64M"];
    let args = ["mounts", "put", "/data/a", "one", "put", "/data/in/ner/b", "two"];
    let ended =
        volumes.prints(&given, &args, &format!("{mounted}put /data/a: ok\nput /data/in/ner/b: ok\n"))?;
    says(&ended, "made the volume outer of 64 MiB")?;
    is_sound(&volumes.named("outer"))?;
    let text = host("debugfs", &["-R", "cat /b", &volumes.named("inner")])?;
    if !text.contains("two") {
        return Err(format!("debugfs reads {text:?}"));
    }
    // What has no name any more must not leave its volume in need of recovery.
    let args = ["get", "/data/a", "hold", "/data/gone", "get", "/x/b", "put", "/x/c", "3", "mounts"];
    let given = ["outer:/data", "inner:/x:ro"];
    let ended = call(volumes.run(&["--machine=microvm"], &given, &args))?;
    let expected = "get /data/a: one\nhold /data/gone: ok\nget /x/b: two\nput /x/c: EROFS\n\
        /dev/vdb /data ext4 rw 254:16 agree\n/dev/vdc /x ext4 ro 254:32 agree\n";
    expect("standard output on microvm", ended.stdout.as_str(), expected, &ended)?;
    let listed = volumes.tool(&["ls"])?;
    let states = listed.stdout.lines().filter(|line| line.ends_with("clean")).count();
    expect("clean volumes in the list", states, 2, &listed)?;
    expect("sizes in the list", listed.stdout.contains("64 MiB"), true, &listed)
}

/// A volume is one run's; a killed run leaves it to the next one, which recovers it.
pub fn are_used_by_one_run(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "lock")?;
    let mut first =
        Call::start(volumes.run(&[], &["v:/data,size=64M"], &["put", "/data/a", "kept", "wait"]))?;
    for expected in ["put /data/a: ok", "ready"] {
        let line = first.line()?;
        if line != expected {
            return Err(format!("the first run prints {line:?}, not {expected:?}"));
        }
    }
    for given in ["v:/data", "v:/data:ro"] {
        refuses(&call(volumes.run(&[], &[given], &["mounts"]))?, "the volume v is in use by another run")?;
    }
    refuses(&volumes.tool(&["rm", "v"])?, "is in use")?;
    let listed = volumes.tool(&["ls"])?;
    expect("the state in the list", listed.stdout.contains("in use"), true, &listed)?;
    first.signal(Signal::KILL)?;
    first.end()?;
    let mut reader = Call::start(volumes.run(&[], &["v:/data:ro"], &["get", "/data/a", "wait"]))?;
    let line = reader.line()?;
    if line != "get /data/a: kept" {
        return Err(format!("after the first run was killed, {line:?}"));
    }
    // Readers share.
    let ended = volumes.prints(&["v:/data:ro"], &["get", "/data/a"], "get /data/a: kept\n")?;
    expect("a second recovery", ended.stderr.contains("journal"), false, &ended)?;
    reader.signal(Signal::KILL)?;
    let ended = reader.end()?;
    says(&ended, "the volume v was not left in order; its journal was replayed")?;

    let mut second = Call::start(volumes.run(&[], &["v:/data"], &["put", "/data/a", "again", "wait"]))?;
    while second.line()? != "ready" {}
    second.signal(Signal::KILL)?;
    second.end()?;
    let ended = volumes.prints(&["v:/data"], &["get", "/data/a"], "get /data/a: again\n")?;
    says(&ended, "the volume at /data was not left in order, and has been recovered")?;
    is_sound(&volumes.named("v"))?;
    let removed = volumes.tool(&["rm", "v"])?;
    expect("status of crema volume rm", removed.status, Some(0), &removed)?;
    refuses(&volumes.tool(&["fsck", "v"])?, "there is no volume v")
}

/// A full volume is the program's problem, and nobody else's.
pub fn can_be_full(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "full")?;
    let args = ["put", "/data/a", "first", "fill", "/data/big", "get", "/data/a"];
    let expected = "put /data/a: ok\nfill /data/big: ENOSPC\nfsync /data/big: ok\nclose /data/big: ok\nget /data/a: first\n";
    volumes.prints(&["v:/data,size=16M"], &args, expected)?;
    is_sound(&volumes.named("v"))?;
    let args = ["get", "/data/a", "remove", "/data/big", "put", "/data/b", "second"];
    volumes.prints(&["v:/data"], &args, "get /data/a: first\nremove /data/big: ok\nput /data/b: ok\n")?;
    is_sound(&volumes.named("v"))
}

/// What is removed takes no room on the host any more, while the machine runs and without being asked for; and what somebody else removed, when
/// it is asked for.
pub fn give_space_back(fixture: &Fixture) -> Verdict {
    use std::os::unix::fs::MetadataExt;
    const LARGE_MIB: u64 = 200;
    let volumes = Volumes::new(fixture, "discard")?;
    let path = volumes.named("v");
    let allocated_mib =
        || fs::metadata(&path).map(|file| file.blocks() >> 11).map_err(|error| error.to_string());
    let stays_below = |what: &str, limit: u64| match allocated_mib()? {
        mib if mib < limit => Ok(()),
        mib => Err(format!("{what} the volume takes {mib} MiB")),
    };
    volumes.prints(&["v:/data,size=1G"], &["large", "/data/a"], "large /data/a: ok\n")?;
    if allocated_mib()? < LARGE_MIB {
        return Err("what was written is not there".into());
    }
    let mut run = Call::start(volumes.run(&[], &["v:/data"], &["remove", "/data/a", "sync", "wait"]))?;
    while run.line()? != "ready" {}
    stays_below("after the removal, with the machine running,", LARGE_MIB / 2)?;
    run.signal(Signal::KILL)?;
    run.end()?;
    volumes.prints(&["v:/data"], &["large", "/data/b"], "large /data/b: ok\n")?;
    is_sound(&path)?;
    host("debugfs", &["-w", "-R", "rm /b", &path])?;
    if allocated_mib()? < LARGE_MIB {
        return Err("debugfs gives space back, so that there is nothing to trim".into());
    }
    volumes.prints(&["v:/data"], &["trim", "/data"], "trim /data: ok\n")?;
    stays_below("trimmed,", LARGE_MIB / 2)?;
    is_sound(&path)
}

/// A volume grows with all that is in it; one that is in use, or damaged, or large enough, does not.
pub fn can_grow(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "grow")?;
    let args = ["put", "/data/a", "kept", "fill", "/data/big"];
    let expected = "put /data/a: ok\nfill /data/big: ENOSPC\nfsync /data/big: ok\nclose /data/big: ok\n";
    volumes.prints(&["v:/data,size=16M"], &args, expected)?;
    refuses(&volumes.tool(&["resize", "v", "16M"])?, "has 16 MiB already")?;
    refuses(&volumes.tool(&["resize", "w", "1G"])?, "there is no volume w")?;
    let grown = volumes.tool(&["resize", "v", "1G"])?;
    expect("standard output", grown.stdout.as_str(), "the volume v has 1 GiB now\n", &grown)?;
    is_sound(&volumes.named("v"))?;
    let args = ["get", "/data/a", "large", "/data/b"];
    let mut run = Call::start(volumes.run(&[], &["v:/data"], &[&args[..], &["wait"]].concat()))?;
    for expected in ["get /data/a: kept", "large /data/b: ok", "ready"] {
        let line = run.line()?;
        if line != expected {
            return Err(format!("on the larger volume {line:?} in place of {expected:?}"));
        }
    }
    refuses(&volumes.tool(&["resize", "v", "2G"])?, "is in use")?;
    run.signal(Signal::KILL)?;
    run.end()?;
    // One that was not left in order is recovered first.
    let grown = volumes.tool(&["resize", "v", "2G"])?;
    expect("standard output", grown.stdout.as_str(), "the volume v has 2 GiB now\n", &grown)?;
    is_sound(&volumes.named("v"))?;
    volumes.prints(&["v:/data"], &["get", "/data/a"], "get /data/a: kept\n").map(drop)
}

/// What mke2fs can make, and is read here: block sizes, and features present and absent.
const FORMATS: [(&str, &[&str]); 6] = [
    ("1k", &["-b", "1024"]),
    ("2k", &["-b", "2048"]),
    ("plain", &["-b", "4096", "-O", "^metadata_csum,^64bit,^huge_file,^dir_index"]),
    ("large", &["-b", "4096", "-I", "512", "-O", "metadata_csum_seed,project"]),
    ("unjournalled", &["-b", "4096", "-O", "^has_journal"]),
    ("default", &[]),
];

/// Volumes that Linux's own tool made are read and written, and e2fsck is content afterwards; what is not known is told.
pub fn made_by_linux_are_read(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "formats")?;
    let contents = volumes.path("contents");
    fs::create_dir(&contents).map_err(|error| error.to_string())?;
    fs::write(format!("{contents}/old"), "from Linux").map_err(|error| error.to_string())?;
    let make = |name: &str, options: &[&str]| {
        let path = volumes.path(&format!("{name}.img"));
        let fixed = ["-q", "-F", "-t", "ext4", "-d", &contents];
        host("mke2fs", &[&fixed[..], options, &[&path, "48M"]].concat()).map(|_| path)
    };
    let (mut given, mut args, mut expected, mut paths) = (vec![], vec![], String::new(), vec![]);
    for (name, options) in FORMATS {
        let path = make(name, options)?;
        given.push(format!("{path}:/{name}"));
        paths.push(path);
        args.extend([
            "get".into(),
            format!("/{name}/old"),
            "put".into(),
            format!("/{name}/new"),
            name.into(),
        ]);
        expected += &format!("get /{name}/old: from Linux\nput /{name}/new: ok\n");
    }
    let words = |strings: &[String]| strings.iter().map(String::clone).collect::<Vec<_>>();
    let (given, args) = (words(&given), words(&args));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    volumes.prints(&given, &args, &expected)?;
    for (path, (name, _)) in paths.iter().zip(FORMATS) {
        is_sound(path)?;
        let text = host("debugfs", &["-R", "cat /new", path])?;
        if !text.contains(name) {
            return Err(format!("debugfs reads {text:?} from {name}"));
        }
    }

    let odd = make("odd", &["-O", "inline_data"])?;
    let ended = call(volumes.run(&[], &[&format!("{odd}:/data")], &["mounts"]))?;
    refuses(&ended, "cannot be mounted: it has features that are not known here: inline_data")?;
    let clustered = make("clustered", &["-O", "bigalloc"])?;
    let ended = call(volumes.run(&[], &[&format!("{clustered}:/data")], &["mounts"]))?;
    refuses(
        &ended,
        "it can only be mounted read-only, for it has features that are not known here: bigalloc",
    )?;
    let none = volumes.path("none.img");
    fs::write(&none, vec![7; 1 << 20]).map_err(|error| error.to_string())?;
    refuses(&call(volumes.run(&[], &[&format!("{none}:/data")], &["mounts"]))?, "has no ext4 file system")
}

/// Damage is told, nothing is written on it, and it can be repaired.
pub fn can_be_damaged(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "damaged")?;
    volumes.prints(&["v:/data,size=256M"], &["put", "/data/a", "kept"], "put /data/a: ok\n")?;
    let path = volumes.named("v");
    // As Linux notes that it found damage: the flag EXT2_ERROR_FS beside EXT2_VALID_FS; and a count that is wrong.
    host("debugfs", &["-w", "-R", "set_super_value state 3", &path])?;
    host("debugfs", &["-w", "-R", "set_inode_field /a links_count 9", &path])?;
    let expected = "get /data/a: kept\nput /data/b: EROFS\n";
    let ended = volumes.prints(&["v:/data"], &["get", "/data/a", "put", "/data/b", "x"], expected)?;
    says(&ended, "the volume at /data is damaged (")?;
    says(&ended, "), and mounted read-only: see crema volume fsck")?;
    let listed = volumes.tool(&["ls"])?;
    expect("the state in the list", listed.stdout.contains("damaged"), true, &listed)?;
    let checked = volumes.tool(&["fsck", "v"])?;
    expect("status of fsck", checked.status, Some(1), &checked)?;
    expect("the verdict", checked.stdout.starts_with("the volume v is damaged"), true, &checked)?;
    expect("the problem", checked.stdout.contains("ref count is 9"), true, &checked)?;
    let repaired = volumes.tool(&["fsck", "v", "--repair"])?;
    expect("status of fsck --repair", repaired.status, Some(0), &repaired)?;
    expect(
        "the verdict",
        repaired.stdout.as_str(),
        "the volume v was damaged, and is repaired\n",
        &repaired,
    )?;
    let checked = volumes.tool(&["fsck", "v"])?;
    expect("the verdict", checked.stdout.starts_with("the volume v is sound: "), true, &checked)?;
    let ended = volumes.prints(&["v:/data"], &["put", "/data/b", "x"], "put /data/b: ok\n")?;
    expect("what is told", ended.stderr.contains("damaged"), false, &ended)?;

    // Without a superblock there is nothing to mount; a volume of several block groups has copies of it.
    host("dd", &["if=/dev/zero", &format!("of={path}"), "bs=1", "seek=1060", "count=8", "conv=notrunc"])?;
    refuses(
        &call(volumes.run(&[], &["v:/data"], &["mounts"]))?,
        "the volume v is damaged, so that it cannot be mounted",
    )?;
    let repaired = volumes.tool(&["fsck", "v", "--repair"])?;
    expect("status of the repair", repaired.status, Some(0), &repaired)?;
    volumes.prints(&["v:/data"], &["get", "/data/a"], "get /data/a: kept\n").map(drop)
}

/// Archives go in and come out; mistakes get a sentence.
pub fn are_exported_and_imported(fixture: &Fixture) -> Verdict {
    let volumes = Volumes::new(fixture, "archives")?;
    let tree = volumes.path("tree");
    fs::create_dir_all(format!("{tree}/in")).map_err(|error| error.to_string())?;
    fs::write(format!("{tree}/in/side"), "packed").map_err(|error| error.to_string())?;
    let (first, second) = (volumes.path("first.tar"), volumes.path("second.tar"));
    let time = "2040-02-03 04:05:06.123456789";
    host("touch", &["-d", &format!("{time} UTC"), &format!("{tree}/in/side")])?;
    host("tar", &["-C", &tree, "--format=posix", "--owner=12", "--group=34", "-cf", &first, "."])?;
    let imported = volumes.tool(&["import", "v", &first, "--size", "32M"])?;
    expect("status of the import", imported.status, Some(0), &imported)?;
    is_sound(&volumes.named("v"))?;
    let args = ["get", "/data/in/side", "put", "/data/in/new", "written"];
    volumes.prints(&["v:/data"], &args, "get /data/in/side: packed\nput /data/in/new: ok\n")?;
    let exported = volumes.tool(&["export", "v", "--output", &second])?;
    expect("status of the export", exported.status, Some(0), &exported)?;
    let listed = host("tar", &["--numeric-owner", "--full-time", "--utc", "-tvf", &second])?;
    let line = |name: &str| listed.lines().find(|line| line.ends_with(name)).unwrap_or_default().to_string();
    if !line("./in/side").contains(" 12/34 ")
        || !line("./in/side").contains(time)
        || !line("./in/new").contains(" 0/0 ")
    {
        return Err(format!("what was exported:\n{listed}"));
    }
    let text = host("tar", &["-xOf", &second, "./in/new"])?;
    if text != "written" {
        return Err(format!("the archive has {text:?}"));
    }

    for (words, sentence) in [
        (&["import", "w", &volumes.program][..], "it is no tar archive"),
        (&["create", "v"], "there is a volume v already"),
        (&["import", "v", &first, "--size", "1G"], "it has its size"),
        (&["export", "none"], "there is no volume none"),
        (&["rm", "none"], "there is no volume none"),
    ] {
        refuses(&volumes.tool(words)?, sentence)?;
    }
    if Path::new(&volumes.named("w")).exists() {
        return Err("a failed import leaves a volume".into());
    }
    for (given, sentence) in [
        (&["v"][..], "where is the volume v to be mounted?"),
        (&["v:/data", "v:/other"], "the volume v is given twice"),
        (&["v:/data", "w:/data"], "two volumes cannot both be mounted at /data"),
        (&["w:/data:ro"], "there is no volume w to be read"),
        (&["./none.img:/data"], "there is no file ./none.img"),
    ] {
        refuses(&call(volumes.run(&[], given, &["mounts"]))?, sentence)?;
    }
    Ok(())
}
