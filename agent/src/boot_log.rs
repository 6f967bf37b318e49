//! How many events the firmware's log has (TCG PC Client Platform Firmware Profile, chapter 10); nothing else of it is judged here.

use keylime_engine::algorithm::HashAlgorithm;

/// The signature in the first event of a log whose further events carry several digests.
const CRYPTO_AGILE: &[u8; 16] = b"Spec ID Event03\0";
/// Digest length of events in a log of TPM 1.2's format.
const SHA1_BYTES: usize = 20;

/// A position in the log.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn u16(&mut self) -> Option<u16> {
        let value = u16::from_le_bytes(*self.0.first_chunk()?);
        self.skip(2)?;
        Some(value)
    }

    fn u32(&mut self) -> Option<u32> {
        let value = u32::from_le_bytes(*self.0.first_chunk()?);
        self.skip(4)?;
        Some(value)
    }
}

/// The number of events up to the first one that is not complete.
#[must_use]
pub fn event_count(log: &[u8]) -> u64 {
    let mut cursor = Cursor(log);
    let Some(first) = sha1_event(&mut cursor) else {
        return 0;
    };
    let digest_lengths = first.starts_with(CRYPTO_AGILE).then(|| announced_lengths(first)).flatten();
    let mut count = 1;
    while !cursor.0.is_empty() {
        let read = match &digest_lengths {
            Some(lengths) => agile_event(&mut cursor, lengths),
            None => sha1_event(&mut cursor).map(|_| ()),
        };
        if read.is_none() {
            break;
        }
        count += 1;
    }
    count
}

/// PCR, type, SHA-1, size, data; answers the data.
fn sha1_event<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    cursor.skip(8 + SHA1_BYTES)?;
    let size = usize::try_from(cursor.u32()?).ok()?;
    let data = cursor.0.get(..size)?;
    cursor.skip(size)?;
    Some(data)
}

/// PCR, type, digests, size, data.
fn agile_event(cursor: &mut Cursor<'_>, lengths: &[(u16, usize)]) -> Option<()> {
    cursor.skip(8)?;
    for _ in 0..cursor.u32()? {
        let algorithm = cursor.u16()?;
        cursor.skip(length_of(algorithm, lengths)?)?;
    }
    let size = usize::try_from(cursor.u32()?).ok()?;
    cursor.skip(size)
}

fn length_of(algorithm: u16, lengths: &[(u16, usize)]) -> Option<usize> {
    let announced = lengths.iter().find(|(id, _)| *id == algorithm).map(|(_, length)| *length);
    announced.or_else(|| HashAlgorithm::from_tpm_id(algorithm).map(HashAlgorithm::digest_len))
}

/// The algorithms and digest lengths the first event announces.
fn announced_lengths(data: &[u8]) -> Option<Vec<(u16, usize)>> {
    // Signature, platform class, three version bytes, size of UINTN.
    let mut cursor = Cursor(data);
    cursor.skip(CRYPTO_AGILE.len() + 4 + 4)?;
    let count = cursor.u32()?;
    // Each takes four bytes, so a log cannot announce more than it is long.
    (0..count).map(|_| Some((cursor.u16()?, usize::from(cursor.u16()?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Vec<u8> {
        let mut data = CRYPTO_AGILE.to_vec();
        data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        data.extend([1, 0, 0, 0, 0x0B, 0, 32, 0, 0]);
        let mut log = vec![0; 28];
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(data);
        log
    }

    fn event(data: &[u8]) -> Vec<u8> {
        let mut log = vec![0; 8];
        log.extend([1, 0, 0, 0, 0x0B, 0]);
        log.extend([7; 32]);
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(data);
        log
    }

    #[test]
    fn complete_events_are_counted() {
        let log = [header(), event(b"one"), event(b"")].concat();
        assert_eq!(event_count(&log), 3);
        assert_eq!(event_count(&log[..log.len() - 1]), 2);
        assert_eq!(event_count(&[]), 0);
        let old = [vec![0; 28], vec![2, 0, 0, 0, 1, 2]].concat();
        assert_eq!(event_count(&[old.clone(), old].concat()), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted_without_harm(tail in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(event_count(&[header(), tail.clone()].concat()) >= 1);
            prop_assert!(event_count(&tail) as usize <= tail.len());
        }
    }
}
