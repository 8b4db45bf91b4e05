//! The battery-backed clock (Motorola MC146818), which is set to UTC.

/// Access to the clock's registers through ports 0x70 and 0x71.
pub trait Cmos {
    /// The register with this index.
    fn read(&self, register: u8) -> u8;
}

mod register {
    pub const SECONDS: u8 = 0x00;
    pub const MINUTES: u8 = 0x02;
    pub const HOURS: u8 = 0x04;
    pub const DAY: u8 = 0x07;
    pub const MONTH: u8 = 0x08;
    pub const YEAR: u8 = 0x09;
    pub const STATUS_A: u8 = 0x0a;
    pub const STATUS_B: u8 = 0x0b;
    pub const CENTURY: u8 = 0x32;
}

const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const HOURS_24: u8 = 1 << 1;
const BINARY: u8 = 1 << 2;
const AFTERNOON: u8 = 1 << 7;

/// Looks at the clock before it counts as missing: an update takes 2 ms at most, a look about 1 us.
const MAX_LOOKS: usize = 100_000;
/// Readings before two are the same.
const MAX_READINGS: usize = 16;

/// Seconds since the Unix epoch, or `None` if there is no clock or it shows no time.
pub fn read(cmos: &dyn Cmos) -> Option<u64> {
    let mut last = reading(cmos)?;
    for _ in 0..MAX_READINGS {
        let again = reading(cmos)?;
        if again == last {
            return decode(&again);
        }
        last = again;
    }
    None
}

#[derive(PartialEq, Eq)]
struct Reading {
    seconds: u8,
    minutes: u8,
    hours: u8,
    day: u8,
    month: u8,
    year: u8,
    century: u8,
    mode: u8,
}

fn reading(cmos: &dyn Cmos) -> Option<Reading> {
    (0..MAX_LOOKS).find(|_| cmos.read(register::STATUS_A) & UPDATE_IN_PROGRESS == 0)?;
    Some(Reading {
        seconds: cmos.read(register::SECONDS),
        minutes: cmos.read(register::MINUTES),
        hours: cmos.read(register::HOURS),
        day: cmos.read(register::DAY),
        month: cmos.read(register::MONTH),
        year: cmos.read(register::YEAR),
        century: cmos.read(register::CENTURY),
        mode: cmos.read(register::STATUS_B),
    })
}

fn decode(reading: &Reading) -> Option<u64> {
    let number = |value: u8| {
        if reading.mode & BINARY != 0 {
            Some(u64::from(value))
        } else {
            let (tens, ones) = (value >> 4, value & 0xf);
            (tens <= 9 && ones <= 9).then_some(u64::from(tens) * 10 + u64::from(ones))
        }
    };
    let hours = if reading.mode & HOURS_24 != 0 {
        number(reading.hours)?
    } else {
        let afternoon = reading.hours & AFTERNOON != 0;
        let hour = number(reading.hours & !AFTERNOON).filter(|hour| (1..=12).contains(hour))?;
        hour % 12 + if afternoon { 12 } else { 0 }
    };
    let (seconds, minutes) = (number(reading.seconds)?, number(reading.minutes)?);
    let (day, month) = (number(reading.day)?, number(reading.month)?);
    // The century is not on all clocks, and has no standard place; where it makes no sense, ours.
    let century = number(reading.century).filter(|century| (19..=21).contains(century)).unwrap_or(20);
    let year = century * 100 + number(reading.year).filter(|year| *year < 100)?;
    let valid = seconds < 60
        && minutes < 60
        && hours < 24
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && year >= 1970;
    valid.then(|| ((days_since_epoch(year, month, day) * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, from 1970 on.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    const DAYS_BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_day = u64::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
        + DAYS_BEFORE_MONTH[month as usize - 1]
        + leap_day
        + day
        - 1
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Clock {
        registers: [u8; 128],
        /// Readings of status A that still show an update.
        updating: Cell<usize>,
    }

    impl Cmos for Clock {
        fn read(&self, register: u8) -> u8 {
            if register == register::STATUS_A && self.updating.get() > 0 {
                self.updating.set(self.updating.get() - 1);
                return UPDATE_IN_PROGRESS;
            }
            self.registers[usize::from(register)]
        }
    }

    fn clock(mode: u8, [century, year, month, day, hours, minutes, seconds]: [u8; 7]) -> Clock {
        let mut registers = [0; 128];
        for (at, value) in [
            (register::CENTURY, century),
            (register::YEAR, year),
            (register::MONTH, month),
            (register::DAY, day),
            (register::HOURS, hours),
            (register::MINUTES, minutes),
            (register::SECONDS, seconds),
            (register::STATUS_B, mode),
        ] {
            registers[usize::from(at)] = value;
        }
        Clock { registers, updating: Cell::new(3) }
    }

    #[test]
    fn reads_all_ways_in_which_a_clock_can_show_the_time() {
        // 2024-02-29 23:59:58 UTC, as `date -u -d ... +%s` has it.
        let time = Some(1_709_251_198);
        assert_eq!(read(&clock(HOURS_24, [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58])), time);
        assert_eq!(read(&clock(HOURS_24 | BINARY, [20, 24, 2, 29, 23, 59, 58])), time);
        assert_eq!(read(&clock(0, [0x20, 0x24, 0x02, 0x29, 0x80 | 0x11, 0x59, 0x58])), time);
        assert_eq!(read(&clock(HOURS_24, [0xff, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58])), time);
        // Midnight and noon of the twelve-hour clock.
        let hour = |hours| read(&clock(0, [0x19, 0x70, 1, 1, hours, 0, 0]));
        assert_eq!((hour(0x12), hour(0x92), hour(0x01)), (Some(0), Some(43_200), Some(3_600)));
    }

    #[test]
    fn knows_the_calendar() {
        let date = |century, year, month, day| {
            read(&clock(HOURS_24 | BINARY, [century, year, month, day, 0, 0, 0])).map(|time| time / 86_400)
        };
        assert_eq!(date(19, 70, 1, 1), Some(0));
        assert_eq!(date(20, 0, 2, 29), Some(11_016));
        assert_eq!(date(20, 0, 3, 1), Some(11_017));
        assert_eq!(date(21, 0, 3, 1), Some(47_541)); // 2100 is no leap year
        assert_eq!(date(20, 26, 11, 20), Some(20_777));
    }

    #[test]
    fn a_missing_or_broken_clock_is_none() {
        assert_eq!(read(&Clock { registers: [0xff; 128], updating: Cell::new(0) }), None);
        let forever = clock(HOURS_24, [0x20, 0x24, 1, 1, 0, 0, 0]);
        forever.updating.set(usize::MAX);
        assert_eq!(read(&forever), None);
        for wrong in [
            [0x20, 0x24, 0x13, 1, 0, 0, 0],
            [0x20, 0x24, 0, 1, 0, 0, 0],
            [0x20, 0x24, 1, 0x32, 0, 0, 0],
            [0x20, 0x24, 1, 1, 0x24, 0, 0],
            [0x20, 0x24, 1, 1, 0, 0x60, 0],
            [0x20, 0x24, 1, 1, 0, 0, 0x6a],
            [0x19, 0x69, 1, 1, 0, 0, 0],
        ] {
            assert_eq!(read(&clock(HOURS_24, wrong)), None, "{wrong:x?}");
        }
    }
}
