//! Switching off by ACPI (ACPI 6.5, 7.4.2.2 and 4.8.3).

/// SLP_EN of the PM1 control register.
const PM1_SLEEP_ENABLE: u16 = 1 << 13;
/// SLP_TYP of the PM1 control register: three bits.
const PM1_SLEEP_TYPE_SHIFT: u16 = 10;
const PM1_SLEEP_TYPE: u16 = 0b111 << PM1_SLEEP_TYPE_SHIFT;

/// SLP_EN of the sleep control register.
const SLEEP_CONTROL_ENABLE: u8 = 1 << 5;
const SLEEP_CONTROL_TYPE_SHIFT: u8 = 2;

/// What a PM1 control register that holds `now` is set to for a sleep state.
pub const fn pm1_control(now: u16, sleep_type: u8) -> u16 {
    now & !PM1_SLEEP_TYPE | ((sleep_type as u16) << PM1_SLEEP_TYPE_SHIFT & PM1_SLEEP_TYPE) | PM1_SLEEP_ENABLE
}

/// What the sleep control register of hardware-reduced ACPI is set to for a sleep state.
pub const fn sleep_control(sleep_type: u8) -> u8 {
    (sleep_type & 0b111) << SLEEP_CONTROL_TYPE_SHIFT | SLEEP_CONTROL_ENABLE
}

/// Ticks of the PM timer per second (4.8.3.3).
pub const PM_TIMER_HZ: u64 = 3_579_545;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_specification() {
        assert_eq!(pm1_control(0x0001, 0), 0x2001);
        assert_eq!(pm1_control(0x1c01, 5), 0x3401);
        assert_eq!(sleep_control(5), 0x34);
        assert_eq!(sleep_control(0xff), 0x3c);
    }
}
