-- A number from 0 up to 1, made from a hash.
--
-- @param hashed UBIGINT: a hash, as hash() returns it.
-- @example SELECT demo_uniform(hash(42)) AS x
CREATE MACRO demo_uniform(hashed) AS
(hashed >> 11) / 9007199254740992.0
