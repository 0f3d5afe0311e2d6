//! The binary protocol, as plain as can be.

use super::client::Client;

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub code: u8,
    pub status: u16,
    pub opaque: u32,
    pub cas: u64,
    pub extras: Vec<u8>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl Message {
    pub fn new(code: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Self {
        let [extras, key, value] = [extras, key, value].map(<[u8]>::to_vec);
        Self { code, extras, key, value, ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Self { code, status, opaque, cas, extras, key, value } = self;
        let mut out = vec![0x80, *code];
        out.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
        out.extend([u8::try_from(extras.len()).unwrap(), 0]);
        out.extend(status.to_be_bytes());
        let body = extras.len() + key.len() + value.len();
        out.extend(u32::try_from(body).unwrap().to_be_bytes());
        out.extend(opaque.to_be_bytes());
        out.extend(cas.to_be_bytes());
        [&out, &extras[..], key, value].concat()
    }

    /// The next answer; none if the other side has closed.
    pub fn read(client: &mut Client) -> Option<Self> {
        let head = client.bytes(24);
        if head.len() < 24 {
            return None;
        }
        assert_eq!(head[0], 0x81, "no answer: {head:?}");
        let number = |at: usize, size: usize| {
            head[at..at + size].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
        };
        let size = |at, size| usize::try_from(number(at, size)).unwrap();
        let (key, extras, body) = (size(2, 2), size(4, 1), size(8, 4));
        let whole = client.bytes(body);
        assert_eq!(whole.len(), body, "half an answer");
        Some(Self {
            code: head[1],
            status: u16::try_from(number(6, 2)).unwrap(),
            opaque: u32::try_from(number(12, 4)).unwrap(),
            cas: number(16, 8),
            extras: whole[..extras].to_vec(),
            key: whole[extras..extras + key].to_vec(),
            value: whole[extras + key..].to_vec(),
        })
    }
}
