//! `crema bench --jar JAR --load COMMAND`: the user's own jar, under a load of the user's own.
//!
//! The command is run by a shell when the server in the guest answers. A port of the guest's in it, after `127.0.0.1:` or `localhost:`, becomes
//! the host's port that leads there. What wrk prints is understood, and so are lines `NAME UNIT VALUE`; of any other command it is only known
//! how long it took.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    figures,
    harness::Harness,
    load,
    machine::{Guest, LIMIT, Machine, Manners},
    model::{Figure, Observation},
};
use crate::{
    appliance::Manifest,
    application,
    failure::{Failure, Result},
    image::cache::CachedImage,
    machine::choice::Payload,
    options::ApplicationOptions,
};

const NAME: &str = "jar";

pub fn bench(harness: &mut Harness, target: &Path, command: &str) -> Result<()> {
    let project = harness.project;
    let load = Load::parse(command)?;
    let appliance = Manifest::of_target(Some(target))?;
    let (jar, options, args) = match &appliance {
        Some(appliance) => {
            let prepared = appliance.prepare(&ApplicationOptions::default(), project)?;
            (prepared.jar, prepared.options, appliance.args.clone())
        }
        None => (Some(target.to_path_buf()), ApplicationOptions::default(), vec![]),
    };
    let (recipe, description) =
        application::pack(jar.as_deref(), &options, &args, &application::Defaults::default(), project)?;
    let image = CachedImage::of(&recipe, project)?;
    let config = description.run_config(&ApplicationOptions::default(), &[])?;
    let choice = match appliance.as_ref().and_then(|appliance| appliance.memory) {
        Some(memory) => harness.machine_or(Payload::Jvm, memory, None)?,
        None => harness.machine(Payload::Jvm)?,
    };
    let sides = harness.sides.clone();
    let bench = harness.alternate(NAME, &choice, &sides, |side| {
        let machine = Machine::new(project, &choice, side, image.path());
        let (mut seen, sample) = machine.serve(&config, &[(0, load.port)], Manners::Silent, |guest| {
            wait_until_ready(guest, load.speaks_http)?;
            let ready = guest.started.elapsed();
            let mut shell = Command::new("sh");
            shell.args(["-c", &load.command_for(guest.ports[0])]);
            let started = Instant::now();
            let (output, shares) = load::generate(guest, shell, "the load command")?;
            let mut seen = understand(&output, started.elapsed())?;
            seen.figure(Figure::new("QEMU's_start_to_ready", "ms", ready.as_secs_f64() * 1000.0));
            seen.append(shares);
            Ok(seen)
        })?;
        seen.courses.push(sample.memory);
        Ok(seen)
    })?;
    bench.notes.push(format!("{} under the load of `{command}`", target.display()));
    Ok(())
}

/// The user's command, cut at the port.
#[derive(Debug, PartialEq)]
struct Load {
    before: String,
    port: u16,
    after: String,
    speaks_http: bool,
}

impl Load {
    fn parse(command: &str) -> Result<Self> {
        let place = ["127.0.0.1:", "localhost:"]
            .iter()
            .find_map(|host| command.find(host).map(|at| (at, at + host.len())))
            .ok_or_else(|| {
                Failure::new(
                    "--load names no port of the guest: it must have 127.0.0.1:PORT or localhost:PORT in it",
                )
            })?;
        let (start, digits) = place;
        let rest = &command[digits..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let port =
            rest[..end].parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                Failure::new(format!("{:?} in --load is no port of the guest", &rest[..end]))
            })?;
        Ok(Self {
            before: command[..start].into(),
            port,
            after: rest[end..].into(),
            speaks_http: command[..start].ends_with("http://"),
        })
    }

    fn command_for(&self, host_port: u16) -> String {
        format!("{}127.0.0.1:{host_port}{}", self.before, self.after)
    }
}

/// Waits until somebody in the guest listens. QEMU takes connections before, and closes them when the guest refuses them.
fn wait_until_ready(guest: &Guest, speaks_http: bool) -> Result<()> {
    /// A guest that is not up yet neither takes a connection nor refuses it for so long.
    const SILENCE: Duration = Duration::from_secs(5);
    let is_ready = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", guest.ports[0]))?;
        stream.set_read_timeout(Some(SILENCE))?;
        if speaks_http {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")?;
        }
        match stream.read(&mut [0]) {
            Ok(bytes) => Ok(bytes > 0),
            // A server of another protocol waits for its client's first word.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(!speaks_http)
            }
            Err(error) => Err(error),
        }
    };
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline && guest.is_running() {
        if matches!(is_ready(), Ok(true)) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::new("nobody in the guest answers at the port that --load names"))
}

/// What the load command found.
fn understand(output: &str, elapsed: Duration) -> Result<Observation> {
    if output.contains("Requests/sec:") {
        return of_wrk(output);
    }
    let mut seen = figures::parse(output);
    if seen.figures.is_empty() {
        seen.figure(Figure::new("the_load_command", "s", elapsed.as_secs_f64()));
    }
    Ok(seen)
}

/// What wrk prints, with `--latency` or without.
fn of_wrk(output: &str) -> Result<Observation> {
    let mut seen = Observation::default();
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Requests/sec:", rate] => {
                let rate = rate.parse().map_err(|_| Failure::new(format!("wrk says {line:?}")))?;
                seen.figure(Figure::new("requests", "1/s", rate));
            }
            ["Socket", "errors:", ..] | ["Non-2xx", ..] => {
                return Err(Failure::new(format!("not all requests were answered well: {}", line.trim())));
            }
            [percent, time] if percent.ends_with('%') => {
                if let Some(us) = microseconds(time) {
                    seen.figure(Figure::new(
                        format!("requests_p{}", percent.trim_end_matches('%')),
                        "us",
                        us,
                    ));
                }
            }
            ["Latency", average, _, greatest, _] => {
                for (name, time) in [("average_latency", average), ("longest_latency", greatest)] {
                    seen.figures.extend(microseconds(time).map(|us| Figure::new(name, "us", us)));
                }
            }
            _ => {}
        }
    }
    Ok(seen)
}

/// wrk's times: `812.00us`, `1.25ms`, `2.00s`, `1.50m`.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let (unit, factor) = units.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    text.strip_suffix(unit)?.parse::<f64>().ok().map(|time| time * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of wrk 4.1.0.
    const RECORDED: &str = "Running 2s test @ http://127.0.0.1:8080/\n  2 threads and 10 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.25ms    1.40ms  31.00ms   92.12%\n    \
        Req/Sec     4.45k   512.00     5.20k    71.00%\n  Latency Distribution\n     50%  812.00us\n     75%    1.39ms\n     \
        90%    2.52ms\n     99%    6.90ms\n  17744 requests in 2.00s, 2.50MB read\nRequests/sec:   8863.25\nTransfer/sec:      1.25MB\n";

    #[test]
    fn wrk_is_understood() {
        let seen = understand(RECORDED, Duration::from_secs(2)).unwrap();
        let figures: Vec<(&str, f64)> =
            seen.figures.iter().map(|figure| (&*figure.name, figure.value)).collect();
        assert_eq!(
            figures,
            [
                ("average_latency", 1250.0),
                ("longest_latency", 31000.0),
                ("requests_p50", 812.0),
                ("requests_p75", 1390.0),
                ("requests_p90", 2520.0),
                ("requests_p99", 6900.0),
                ("requests", 8863.25),
            ]
        );
        for trouble in
            ["  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 7\n"]
        {
            assert!(understand(&format!("{RECORDED}{trouble}"), Duration::ZERO).is_err());
        }
    }

    #[test]
    fn other_commands_are_timed_unless_they_print_figures() {
        let seen = understand("done\n", Duration::from_millis(1500)).unwrap();
        assert_eq!(seen.value("the_load_command"), Some(1.5));
        let seen = understand("orders 1/s 12.5\n", Duration::from_millis(1500)).unwrap();
        assert_eq!((seen.value("orders"), seen.figures.len()), (Some(12.5), 1));
    }

    #[test]
    fn the_port_is_replaced() {
        let load = Load::parse("wrk -c 16 http://localhost:8080/x?y=8080").unwrap();
        assert_eq!((load.port, load.speaks_http), (8080, true));
        assert_eq!(load.command_for(4711), "wrk -c 16 http://127.0.0.1:4711/x?y=8080");
        let load = Load::parse("client 127.0.0.1:9092").unwrap();
        assert_eq!((load.command_for(1).as_str(), load.speaks_http), ("client 127.0.0.1:1", false));
        for command in ["wrk http://example.org/", "client localhost:", "client localhost:99999"] {
            assert!(Load::parse(command).is_err(), "{command}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(
            ["5us", "2.5ms", "1.5s", "1m", "x", "5"].map(microseconds),
            [Some(5.0), Some(2500.0), Some(1.5e6), Some(6e7), None, None]
        );
    }
}
