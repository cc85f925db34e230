//! The fuzz target's body, run for a bounded number of cases without the fuzzer.

use proptest::prelude::*;

use crate::fuzz_body::run;

const PIECES: [&str; 52] = [
    "local ",
    "host ",
    "hostssl ",
    "hostnossl ",
    "hostgssenc ",
    "all ",
    "all ",
    "all ",
    "sameuser ",
    "samerole ",
    "replication ",
    "+crew ",
    "/^a.*$ ",
    "/a|b ",
    "app ",
    "orders ",
    "samehost ",
    "samenet ",
    "10.0.0.0/8 ",
    "::/0 ",
    "127.0.0.1 ",
    "255.0.0.255 ",
    "db.example ",
    ".example ",
    "trust\n",
    "reject\n",
    "md5\n",
    "scram-sha-256\n",
    "peer\n",
    "ident\n",
    "pam ",
    "ldap ",
    "cert ",
    "radius ",
    "gss ",
    "clientcert=verify-full\n",
    "map=x\n",
    "ldapurl=a\n",
    "ldapprefix=a\n",
    "include x\n",
    "include_dir x\n",
    "include_if_exists x\n",
    "@x ",
    ",",
    "\"",
    "\"\"",
    "#",
    "\\\n",
    "\n",
    "\r",
    "\t",
    "\u{0}",
];

proptest! {
    #[test]
    fn any_pieces(version in 0_u8..6, pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..60)) {
        run(&[&[version], pieces.concat().as_bytes()].concat());
    }

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..200)) {
        run(&data);
    }
}
