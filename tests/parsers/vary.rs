//! `Vary` on arbitrary bytes: equal meanings share a key, others do not.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tiercel::http::fields::Fields;
use tiercel::http::normalise::{Normaliser, Normalisers};
use tiercel::http::vary::{self, Names, Varies, VaryRefusal, write_values};

use crate::buf;

/// Values of negotiating fields as they come in the wild, and worse.
fn almost_weighted() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "gzip", "x-gzip", "br", "identity", "en", "en-GB", "*", ";", ",", "q=", "Q=0", "0.", "=",
        " ", "\"", "\\",
    ]);
    let parts = prop_oneof![8 => known.prop_map(Into::into), 1 => vec(any::<u8>(), 0..6)];
    vec(parts, 0..16).prop_map(|parts: Vec<Vec<u8>>| parts.concat())
}

/// The names of a `Vary` field, read as an answer's.
fn varies(line: &[u8]) -> Varies {
    let block = buf(&[(b"vary".to_vec(), line.to_vec())]).to_block();
    vary::read(Fields::new(&block), |_| false)
}

fn variant(
    names: &Names,
    request: &[(Vec<u8>, Vec<u8>)],
    normalisers: &Normalisers,
) -> Result<Vec<u8>, VaryRefusal> {
    let (mut out, block) = (Vec::new(), buf(request).to_block());
    write_values(&mut out, names, Fields::new(&block), normalisers).map(|()| out)
}

/// The key of a request with this value, or none, of one field.
fn variant_of(name: &str, value: Option<&[u8]>) -> Vec<u8> {
    let names = Names::from_bytes(name.as_bytes()).unwrap();
    let request: Vec<_> = value.map(|value| (name.into(), value.to_vec())).into_iter().collect();
    variant(&names, &request, &Normalisers::default()).unwrap()
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn names_of_varying_fields_come_back(
        line in "[a-cA-C*, \"]{0,12}|([a-zA-Z-]{1,70},){0,12}", bytes in vec(any::<u8>(), 0..40),
    ) {
        if let Varies::On(names) = varies(line.as_bytes()) {
            prop_assert_eq!(Names::from_bytes(&names.to_bytes()), Some(names.clone()));
            prop_assert_eq!(names.union(&names), Some(names.clone()));
            let listed = |name: &[u8]| line.split(',').any(|member| {
                member.trim().as_bytes().eq_ignore_ascii_case(name)
            });
            prop_assert!(names.to_bytes().split(|b| *b == b',').all(listed));
        }
        if let Some(names) = Names::from_bytes(&bytes) {
            prop_assert_eq!(names.to_bytes(), &bytes[..]);
        }
        varies(&bytes);
    }

    #[test]
    fn requests_that_agree_where_it_varies_share_a_key(
        agreed in vec((select(vec!["accept", "accept-encoding", "accept-language", "x"]), almost_weighted()), 0..4),
        others in vec((select(vec!["accept-charset", "y", "cookie"]), almost_weighted()), 0..4),
        value in almost_weighted(), otherwise in proptest::option::of(almost_weighted()),
    ) {
        let values = vec![value.into(), (*b"en").into(), (*b"gzip").into()];
        let one_of = Normaliser::OneOf { values, otherwise: otherwise.map(Into::into) };
        let none = Normalisers::default();
        let configured = Normalisers::new([
            ((*b"accept-language").into(), one_of), ((*b"x").into(), Normaliser::Ignore),
        ]);
        let names = Names::from_bytes(b"accept,accept-encoding,accept-language,x").unwrap();
        let owned = |fields: &[(&str, Vec<u8>)]| -> Vec<_> {
            fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect()
        };
        let (one, other) = (owned(&agreed), [owned(&others), owned(&agreed)].concat());
        for normalisers in [&none, &configured] {
            prop_assert_eq!(variant(&names, &one, normalisers), variant(&names, &other, normalisers));
        }
        let credential = Names::from_bytes(b"cookie,x").unwrap();
        let sent = others.iter().any(|(name, _)| *name == "cookie");
        let refused = variant(&credential, &other, &none) == Err(VaryRefusal::Credential);
        prop_assert_eq!(sent, refused);
    }

    #[test]
    fn what_is_forwarded_has_the_key_of_what_came(
        lines in vec(almost_weighted(), 0..3),
        otherwise in proptest::option::of(select(vec!["en", "none", ""])),
    ) {
        let values = ["en", "gzip", "en-GB"].map(|value| value.as_bytes().into()).into();
        let one_of = Normaliser::OneOf { values, otherwise: otherwise.map(|o| o.as_bytes().into()) };
        let configured = Normalisers::new([((*b"x").into(), one_of)]);
        let names = Names::from_bytes(b"x").unwrap();
        let came: Vec<_> = lines.into_iter().map(|line| (b"x".to_vec(), line)).collect();
        let block = buf(&came).to_block();
        let mut forwarded = came.clone();
        for (name, value) in configured.rewrites(Fields::new(&block)) {
            forwarded = value.map(|value| (name.to_vec(), value.to_vec())).into_iter().collect();
        }
        prop_assert_eq!(variant(&names, &came, &configured), variant(&names, &forwarded, &configured));
        let block = buf(&forwarded).to_block();
        prop_assert_eq!(configured.rewrites(Fields::new(&block)).count(), 0);
        // The origin sees the very value that the key says.
        let plain = variant(&names, &forwarded, &Normalisers::default());
        prop_assert_eq!(variant(&names, &came, &configured), plain);
    }

    #[test]
    fn other_values_have_other_keys(one in "[ab, ;=\"\0]{0,6}", other in "[ab, ;=\"\0]{0,6}") {
        let key = |value: &str| variant_of("x", Some(value.as_bytes()));
        prop_assert_eq!(key(&one) == key(&other), one.trim() == other.trim());
        prop_assert_ne!(key(&one), variant_of("x", None));
        // However values are cut into fields, they are not mistaken for each other.
        let names = Names::from_bytes(b"x,y").unwrap();
        let both = |x: &str, y: &str| {
            let request = [(b"x".to_vec(), x.into()), (b"y".to_vec(), y.into())];
            variant(&names, &request, &Normalisers::default())
        };
        prop_assert_eq!(both(&one, &other) == both(&other, &one), one.trim() == other.trim());
    }

    #[test]
    fn order_and_space_of_codings_are_nothing(
        members in vec((select(vec!["gzip", "X-GZIP", "br", "*", "identity", "zstd", "Q"]), select(vec!["", ";q=0", " ; Q=0.5", ";q=9"])), 0..6)
            .prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
        space in select(vec!["", " ", "\t ", " ,, "]),
    ) {
        let (sorted, shuffled) = members;
        let text = |members: &[(&str, &str)], comma: &str| {
            members.iter().map(|(name, weight)| format!("{name}{weight}")).collect::<Vec<_>>().join(comma)
        };
        let one = text(&sorted, ",");
        let other = text(&shuffled, &format!("{space},{space}"));
        let key = |text: &str| variant_of("accept-encoding", Some(text.as_bytes()));
        prop_assert_eq!(key(&one), key(&other));
        prop_assert_ne!(key(&one), variant_of("accept-encoding", None));
    }
}
