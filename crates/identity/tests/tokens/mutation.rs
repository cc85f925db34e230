//! Laws: a token that was changed anywhere verifies never, and nothing makes the code panic.

use identity::token_error::TokenError;
use proptest::prelude::*;

use crate::scene::{P256, RSA, Scene, claims, seconds};

proptest! {
    #[test]
    fn a_changed_token_proves_nothing(place: prop::sample::Index, byte: u8, rsa: bool) {
        let scene = Scene::new();
        let right = if rsa { RSA.token("RS256", &claims()) } else { P256.token("ES256", &claims()) }.unwrap();
        let mut bytes = right.clone().into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        prop_assert!(scene.verify_bytes(&bytes, seconds(crate::scene::NOW)).is_err());
        prop_assert!(scene.verify(&right).is_ok());
    }

    #[test]
    fn a_cut_or_longer_token_proves_nothing(place: prop::sample::Index, addition in "[A-Za-z0-9_.=-]{1,4}") {
        let scene = Scene::new();
        let right = P256.token("ES256", &claims()).unwrap();
        let (begin, end) = right.split_at(place.index(right.len()));
        for changed in [begin.to_owned(), format!("{right}{addition}"), format!("{begin}{addition}{end}")] {
            prop_assert!(scene.verify(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>, header in ".*", claims in ".*") {
        let scene = Scene::new();
        prop_assert!(scene.verify_bytes(&bytes, seconds(1)).is_err());
        let token = P256.token_of_texts("ES256", &header, &claims).unwrap();
        prop_assert_eq!(scene.verify(&token), Err(TokenError::Malformed));
    }

    #[test]
    fn fuzz(data: Vec<u8>) {
        crate::fuzz_body::run(&data);
    }

    #[test]
    fn parts_of_two_right_tokens_are_no_token(first in 0_usize..2, second in 0_usize..2, third in 0_usize..2) {
        prop_assume!((first, second, third) != (0, 0, 0) && (first, second, third) != (1, 1, 1));
        let scene = Scene::new();
        let tokens = [
            P256.token("ES256", &claims()).unwrap(),
            RSA.token("RS256", &crate::scene::claims_with(&serde_json::json!({ "sub": "bob" }))).unwrap(),
        ];
        let part = |token: usize, part: usize| tokens[token].split('.').nth(part).unwrap();
        let mixed = format!("{}.{}.{}", part(first, 0), part(second, 1), part(third, 2));
        prop_assert!(scene.verify(&mixed).is_err());
    }
}
