//! What was accepted of a host's size, as a column has it: a JSON object, or null for nothing.

use serde_json::{Map, Value};

use crate::model::capacity::AcceptedCapacity;

const VCPUS: &str = "vcpus";
const MEMORY_MIB: &str = "memory_mib";
const DISK_MIB: &str = "disk_mib";
const GUESTS: &str = "guests";

/// To be stored.
pub(super) fn written(capacity: AcceptedCapacity) -> Option<String> {
    let AcceptedCapacity { vcpus, memory_mib, disk_mib, guests } = capacity;
    let fields = [
        (VCPUS, vcpus.map(u64::from)),
        (MEMORY_MIB, memory_mib),
        (DISK_MIB, disk_mib),
        (GUESTS, guests.map(u64::from)),
    ];
    let said =
        fields.into_iter().filter_map(|(field, most)| Some((field.to_owned(), most?.into())));
    let said: Map<String, Value> = said.collect();
    (!said.is_empty()).then(|| Value::Object(said).to_string())
}

/// As it was stored; `None`: that is not what is there.
pub(super) fn read(text: Option<&str>) -> Option<AcceptedCapacity> {
    let mut capacity = AcceptedCapacity::default();
    let said: Map<String, Value> =
        text.map_or(Some(Map::new()), |t| serde_json::from_str(t).ok())?;
    for (field, most) in said {
        let most = most.as_u64()?;
        match field.as_str() {
            VCPUS => capacity.vcpus = Some(u32::try_from(most).ok()?),
            MEMORY_MIB => capacity.memory_mib = Some(most),
            DISK_MIB => capacity.disk_mib = Some(most),
            GUESTS => capacity.guests = Some(u32::try_from(most).ok()?),
            _ => return None,
        }
    }
    Some(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let whole = AcceptedCapacity {
            vcpus: Some(u32::MAX),
            memory_mib: Some(u64::MAX),
            disk_mib: Some(1),
            guests: Some(0),
        };
        let part = AcceptedCapacity { disk_mib: Some(7), ..AcceptedCapacity::default() };
        for capacity in [whole, part, AcceptedCapacity::default()] {
            assert_eq!(read(written(capacity).as_deref()), Some(capacity));
        }
        assert_eq!(written(AcceptedCapacity::default()), None);
        for text in ["", "1", r#"{"vcpus":-1}"#, r#"{"vcpus":4294967296}"#, r#"{"more":1}"#] {
            assert_eq!(read(Some(text)), None, "{text}");
        }
    }
}
