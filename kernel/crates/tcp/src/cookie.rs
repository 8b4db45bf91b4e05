//! SYN cookies: a handshake's memory, kept by the other end (RFC 4987, 3.6).
//!
//! The sequence number of the SYN-ACK holds, from the highest bit on: five bits of the time, three bits that stand for
//! the other end's MSS, and 24 bits of a keyed code over these, the tuple and the other end's number. What else
//! was agreed on is in the lowest six bits of the timestamp, where the other end has timestamps (as Linux does it).

use crate::{SeqNumber, Tuple, connection::timestamp_clock, secrets::Secrets};

/// Segment sizes that three bits can stand for: the usual ones of paths, from small to large.
const SIZES: [u16; 8] = [216, 536, 1220, 1300, 1400, 1440, 1460, 8960];

/// Logarithm of the seconds of a period.
const PERIOD_SHIFT: u32 = 6;

/// Periods for which a cookie is good, the one of its making included: up to two minutes.
const PERIODS: u32 = 2;

/// How long after the last one was sent a cookie can come back.
pub(crate) const VALID_NS: u64 = ((PERIODS as u64) << PERIOD_SHIFT) * 1_000_000_000;

/// What the timestamp carries.
const OPTION_BITS: u32 = 6;
const SACK_BIT: u32 = 1 << 4;
const NO_SCALE: u32 = 15;

fn period(now_ns: u64) -> u32 {
    ((now_ns / 1_000_000_000) >> PERIOD_SHIFT) as u32
}

/// The sequence number for the answer to a SYN.
pub(crate) fn make(secrets: &Secrets, now_ns: u64, tuple: &Tuple, irs: SeqNumber, mss: u16) -> SeqNumber {
    let size = SIZES.iter().rposition(|&size| size <= mss).unwrap_or(0) as u8;
    let period = period(now_ns);
    let data = (period as u8 & 31) << 3 | size;
    let code = secrets.cookie_code(tuple, irs, period, data) & 0xff_ffff;
    SeqNumber(u32::from(data) << 24 | code)
}

/// The MSS that a cookie of ours stands for; `None` if it is not ours, or too old.
pub(crate) fn check(
    secrets: &Secrets,
    now_ns: u64,
    tuple: &Tuple,
    irs: SeqNumber,
    cookie: SeqNumber,
) -> Option<u16> {
    let data = (cookie.0 >> 24) as u8;
    let now = period(now_ns);
    let age = (now as u8).wrapping_sub(data >> 3) & 31;
    let made = now.checked_sub(age.into()).filter(|_| u32::from(age) < PERIODS)?;
    let code = secrets.cookie_code(tuple, irs, made, data) & 0xff_ffff;
    (code == cookie.0 & 0xff_ffff).then(|| SIZES[usize::from(data & 7)])
}

/// What is agreed on beside the MSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
}

/// The timestamp for the answer to a SYN: the latest one up to now that carries the options.
pub(crate) fn make_timestamp(now_ns: u64, offset: u32, extras: Extras) -> u32 {
    let scale = extras.window_scale.map_or(NO_SCALE, u32::from);
    let options = scale | if extras.sack { SACK_BIT } else { 0 };
    let now = timestamp_clock(now_ns);
    let with_options = now & !((1 << OPTION_BITS) - 1) | options;
    let timestamp =
        if with_options > now { with_options.wrapping_sub(1 << OPTION_BITS) } else { with_options };
    timestamp.wrapping_add(offset)
}

/// What an echoed timestamp says.
pub(crate) fn check_timestamp(echo: u32, offset: u32) -> Extras {
    let options = echo.wrapping_sub(offset) & ((1 << OPTION_BITS) - 1);
    let scale = options & NO_SCALE;
    Extras { window_scale: (scale != NO_SCALE).then_some(scale as u8), sack: options & SACK_BIT != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn tuple(port: u16) -> Tuple {
        Tuple { local: ([10, 0, 0, 1], 80).into(), remote: ([10, 0, 0, 2], port).into() }
    }

    #[test]
    fn a_cookie_is_good_for_its_handshake_and_for_two_minutes_at_most() {
        let secrets = Secrets::new(core::array::from_fn(|n| n as u8));
        let irs = SeqNumber(77);
        for (mss, kept) in [(100, 216), (536, 536), (1459, 1440), (1460, 1460), (65_495, 8960)] {
            let cookie = make(&secrets, 100 * SECOND, &tuple(1), irs, mss);
            let at = |seconds: u64, tuple: &Tuple, irs, cookie| {
                check(&secrets, seconds * SECOND, tuple, irs, cookie)
            };
            assert_eq!(at(100, &tuple(1), irs, cookie), Some(kept));
            assert_eq!(at(191, &tuple(1), irs, cookie), Some(kept));
            assert_eq!(at(192, &tuple(1), irs, cookie), None);
            assert_eq!(at(100, &tuple(2), irs, cookie), None);
            assert_eq!(at(100, &tuple(1), irs.add(1), cookie), None);
            for bit in 0..32 {
                assert_eq!(at(100, &tuple(1), irs, SeqNumber(cookie.0 ^ 1 << bit)), None, "{bit}");
            }
        }
    }

    #[test]
    fn timestamps_carry_options_and_are_not_of_the_future() {
        for now_ms in [0_u64, 1, 63, 64, 65, 12_345_678, u64::from(u32::MAX) + 3] {
            for offset in [0, 5, u32::MAX] {
                for extras in [
                    Extras { window_scale: None, sack: false },
                    Extras { window_scale: Some(14), sack: true },
                    Extras { window_scale: Some(0), sack: false },
                ] {
                    let now_ns = now_ms * 1_000_000;
                    let timestamp = make_timestamp(now_ns, offset, extras);
                    assert_eq!(check_timestamp(timestamp, offset), extras);
                    let age = timestamp_clock(now_ns).wrapping_add(offset).wrapping_sub(timestamp);
                    assert!(age < 128, "{age}");
                }
            }
        }
    }
}
