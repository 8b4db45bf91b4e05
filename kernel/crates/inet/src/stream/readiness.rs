//! What `poll` tells (`tcp_poll`).

use netchannels::Interest;
use tcp::Readiness;
use vfs::PollEvents;

use super::{Role, TcpSocket};

const IN: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const OUT: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

impl TcpSocket {
    pub(super) fn ready(&self) -> PollEvents {
        let mut inner = self.lock();
        let shut = inner.shut;
        match &mut inner.role {
            Role::Idle => {
                let mut events = OUT | PollEvents::HUP;
                if shut.reading {
                    events |= IN | PollEvents::RDHUP;
                }
                if self.core().has_error() {
                    events |= PollEvents::ERR;
                }
                events
            }
            Role::Listening(listener) => {
                if listener.has_connections() {
                    IN
                } else {
                    PollEvents::empty()
                }
            }
            Role::Stream(stream) => loop {
                let readiness = stream.connection.readiness();
                // Whoever asks may wait for the next edge, also of what is there already.
                let interest = if readiness.contains(Readiness::WRITABLE) {
                    Interest::READ
                } else {
                    Interest::READ | Interest::WRITE
                };
                if !stream.is_registered || self.arm(stream, interest).is_ok() {
                    break self.with_unread(events_of(readiness), stream.connection.readable_bytes());
                }
            },
        }
    }

    /// What was taken out of the connection can be read, too.
    fn with_unread(&self, events: PollEvents, in_connection: usize) -> PollEvents {
        let unread = self.unread();
        if unread == 0 || events.contains(IN) {
            return events;
        }
        let low_water = self.core().with(|options| options.common.receive_low_water) as usize;
        if unread + in_connection >= low_water { events | IN } else { events }
    }
}

fn events_of(readiness: Readiness) -> PollEvents {
    let table = [
        (Readiness::READABLE, IN),
        (Readiness::WRITABLE, OUT),
        (Readiness::READ_HANG_UP, PollEvents::RDHUP),
        (Readiness::HANG_UP, PollEvents::HUP),
        (Readiness::ERROR, PollEvents::ERR),
        (Readiness::URGENT, PollEvents::PRI),
    ];
    table
        .into_iter()
        .filter(|(bit, _)| readiness.contains(*bit))
        .fold(PollEvents::empty(), |events, (_, event)| events | event)
}
