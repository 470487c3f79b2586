package auth

import (
	"crypto/aes"
	"crypto/cipher"
)

// cmac is AES-CMAC (RFC 4493), as a hash.Hash. Keys are of 16 bytes.
type cmac struct {
	block  cipher.Block
	k1, k2 [aes.BlockSize]byte // subkeys: of a last block that is whole, and of one that is padded
	x      [aes.BlockSize]byte // the chain so far
	last   [aes.BlockSize]byte // bytes that are not in it yet: at least one, once there was any
	n      int                 // how many
	tag    [aes.BlockSize]byte // what Sum works on
}

// newCMAC is the MAC with a key of 16 bytes.
func newCMAC(key []byte) *cmac {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // of another length: the callers make keys of 16 bytes
	}
	c := &cmac{block: block}
	block.Encrypt(c.k1[:], c.k1[:])
	double(&c.k1)
	c.k2 = c.k1
	double(&c.k2)
	return c
}

// double multiplies by x in GF(2^128) (RFC 4493 §2.3: shift left, and the constant 0x87 if a bit falls out).
func double(b *[aes.BlockSize]byte) {
	carry := byte(0)
	for i := len(b) - 1; i >= 0; i-- {
		b[i], carry = b[i]<<1|carry, b[i]>>7
	}
	b[len(b)-1] ^= carry * 0x87
}

// Write adds to the message. A block is only taken into the chain when more follows, for the last one is treated apart.
func (c *cmac) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if c.n == len(c.last) {
			xor(&c.x, &c.last)
			c.block.Encrypt(c.x[:], c.x[:])
			c.n = 0
		}
		k := copy(c.last[c.n:], p)
		c.n += k
		p = p[k:]
	}
	return total, nil
}

// Sum appends the MAC of what was written (RFC 4493 §2.4).
func (c *cmac) Sum(b []byte) []byte {
	c.tag = c.last
	if c.n == len(c.tag) {
		xor(&c.tag, &c.k1)
	} else {
		clear(c.tag[c.n:])
		c.tag[c.n] = 0x80
		xor(&c.tag, &c.k2)
	}
	xor(&c.tag, &c.x)
	c.block.Encrypt(c.tag[:], c.tag[:])
	return append(b, c.tag[:]...)
}

// Reset begins a new message.
func (c *cmac) Reset() {
	c.n = 0
	clear(c.x[:])
}

// Size is the length of the MAC in bytes.
func (c *cmac) Size() int { return aes.BlockSize }

// BlockSize is that of the cipher.
func (c *cmac) BlockSize() int { return aes.BlockSize }

func xor(dst, src *[aes.BlockSize]byte) {
	for i := range dst {
		dst[i] ^= src[i]
	}
}
