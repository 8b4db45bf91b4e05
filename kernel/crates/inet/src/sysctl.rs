//! What `/proc/sys/net` shows and sets (`Documentation/networking/ip-sysctl.rst`, `Documentation/admin-guide/sysctl/net.rst`
//! in Linux): what sockets here heed. All else is fixed, and shown by `proc-fs`.

use alloc::{
    format,
    string::{String, ToString},
};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use ip::InterfaceFlags;
use linux_abi::Errno;

use crate::{
    Net, PortRange,
    interface::{TRANSMIT_QUEUE, hardware_kind},
    net::Settings,
};

impl Settings {
    fn number(&self, name: &str) -> Option<&AtomicU32> {
        Some(match name {
            "somaxconn" => &self.max_backlog,
            "rmem_default" => &self.receive_buffer[0],
            "rmem_max" => &self.receive_buffer[1],
            "wmem_default" => &self.send_buffer[0],
            "wmem_max" => &self.send_buffer[1],
            "ip_default_ttl" => &self.default_ttl,
            _ => return None,
        })
    }
}

/// Values that a setting may have.
fn bounds(name: &str) -> (u32, u32) {
    match name {
        "somaxconn" => (0, i32::MAX as u32),
        "ip_default_ttl" => (1, 255),
        // The least buffers (`SOCK_MIN_RCVBUF`, `SOCK_MIN_SNDBUF`).
        "rmem_default" | "rmem_max" => (2304, i32::MAX as u32),
        _ => (4608, i32::MAX as u32),
    }
}

impl Net {
    /// The text of a setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        if name == "ip_local_port_range" {
            let PortRange { first, last } = self.settings.local_ports();
            return Some(format!("{first}\t{last}\n"));
        }
        Some(format!("{}\n", self.settings.number(name)?.load(Relaxed)))
    }

    /// Sets it: `EINVAL` for what it cannot be.
    pub fn set_setting(&self, name: &str, text: &str) -> Result<(), Errno> {
        let mut words =
            text.split_ascii_whitespace().map(|word| word.parse::<u32>().map_err(|_| Errno::EINVAL));
        let mut next = || words.next().unwrap_or(Err(Errno::EINVAL));
        if name == "ip_local_port_range" {
            let first = u16::try_from(next()?).map_err(|_| Errno::EINVAL)?;
            let last = u16::try_from(next()?).map_err(|_| Errno::EINVAL)?;
            if first == 0 || first > last {
                return Err(Errno::EINVAL);
            }
            self.settings.set_local_ports(PortRange { first, last });
            return Ok(());
        }
        let place = self.settings.number(name).ok_or(Errno::ENOENT)?;
        let value = next()?;
        let (least, most) = bounds(name);
        if !(least..=most).contains(&value) {
            return Err(Errno::EINVAL);
        }
        place.store(value, Relaxed);
        Ok(())
    }
}

impl Net {
    /// A figure of an interface, as its file in `/sys/class/net` shows it
    /// (`Documentation/ABI/testing/sysfs-class-net`). `ENOENT` if there is no such interface or file.
    pub fn interface_figure(&self, name: &str, figure: &str) -> Result<String, Errno> {
        let index = self.ip.interface_index(name).ok_or(Errno::ENOENT)?;
        let interface = self.ip.interface(index).ok_or(Errno::ENOENT)?;
        let has = |flag| interface.flags.contains(flag);
        let hardware = |address: [u8; 6]| {
            let [a, b, c, d, e, f] = address;
            format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
        };
        let is_ethernet = interface.hardware_address.is_some();
        let counted = interface.statistics;
        let text = match figure {
            "addr_len" => "6".into(),
            "address" => hardware(interface.hardware_address.map_or([0; 6], |address| address.0)),
            "broadcast" => hardware(if is_ethernet { [0xff; 6] } else { [0; 6] }),
            "carrier" => u8::from(has(InterfaceFlags::LOWER_UP)).to_string(),
            // `IFF_UP` and others; not those that tell of the state (`dev_get_flags`).
            "flags" => {
                let told = InterfaceFlags::RUNNING | InterfaceFlags::LOWER_UP;
                format!("{:#x}", interface.flags.difference(told).bits())
            }
            "ifindex" => interface.index.to_string(),
            "mtu" => interface.mtu.to_string(),
            "operstate" if !is_ethernet => "unknown".into(),
            "operstate" if has(InterfaceFlags::RUNNING) => "up".into(),
            "operstate" => "down".into(),
            "rx_bytes" => counted.received_bytes.to_string(),
            "rx_dropped" => counted.receive_dropped.to_string(),
            "rx_errors" => counted.receive_errors.to_string(),
            "rx_packets" => counted.received_packets.to_string(),
            "tx_bytes" => counted.sent_bytes.to_string(),
            "tx_dropped" => counted.send_dropped.to_string(),
            "tx_errors" => counted.send_errors.to_string(),
            "tx_packets" => counted.sent_packets.to_string(),
            "tx_queue_len" => TRANSMIT_QUEUE.to_string(),
            "type" => hardware_kind(&interface).to_string(),
            _ => return Err(Errno::ENOENT),
        };
        Ok(text + "\n")
    }
}
