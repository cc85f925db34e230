-- Roles are shared by all databases of the server: made once.
create role corpus_owner;
create role corpus_clerk login;
create role corpus_guest login;
