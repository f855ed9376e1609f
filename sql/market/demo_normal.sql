-- A number that is nearly normally distributed with mean 0 and variance 1, made from a hash: four 16-bit uniform numbers, added up.
--
-- @param hashed UBIGINT: a hash, as hash() returns it.
-- @source Sum of uniform variables (Irwin-Hall distribution); the sum of four has variance 4/12.
-- @example SELECT demo_normal(hash(42)) AS x
CREATE MACRO demo_normal(hashed) AS
(((hashed & 65535) + ((hashed >> 16) & 65535) + ((hashed >> 32) & 65535) + ((hashed >> 48) & 65535)) / 65536.0 - 2) * 1.7320508075688772
