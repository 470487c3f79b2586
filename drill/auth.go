package drill

import (
	"net/netip"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/auth"
	"github.com/weirnet/weir/wire"
)

// secret is the key with which the digest of a segment is made, or checked.
type secret struct {
	key       string
	algorithm auth.Algorithm
}

// size is the number of bytes of the digest.
func (s *secret) size(kind uint8) int {
	if kind == uint8(wire.TCPOptionAO) && s.algorithm != auth.HMACSHA256 {
		return 12
	}
	return 16
}

// algorithm is what a script calls an algorithm of TCP-AO, and how many bytes its MAC has; "" is the default.
func algorithm(name string) (alg auth.Algorithm, size int, ok bool) {
	switch name {
	case "", "hmac-sha1":
		return auth.HMACSHA1, 12, true
	case "aes-cmac":
		return auth.AESCMAC, 12, true
	case "hmac-sha256":
		return auth.HMACSHA256, 16, true
	}
	return 0, 0, false
}

// guardFor is what the peer signs and checks with. Of TCP-AO one lasts as long as the connection: its keys are made of the initial
// sequence numbers.
func (f *flow) guardFor(o *optionSpec) *auth.Guard {
	if o.kind == uint8(wire.TCPOptionMD5) {
		return auth.NewGuard(&auth.Keys{MD5: []auth.MD5Key{{Key: []byte(o.secret.key)}}}, f.remote, f.local)
	}
	id := o.data[0]
	key := auth.AOKey{SendID: id, RecvID: id, Algorithm: o.secret.algorithm, Key: []byte(o.secret.key)}
	if f.guard == nil {
		f.guard = auth.NewGuard(&auth.Keys{AO: []auth.AOKey{key}}, f.remote, f.local)
		return f.guard
	}
	all := []auth.AOKey{key}
	for _, k := range f.guard.Keys().(*auth.Keys).AO {
		if k.SendID != id {
			all = append(all, k)
		}
	}
	_ = f.guard.SetKeys(&auth.Keys{AO: all}) // all IDs that it had are there
	return f.guard
}

// sign fills in the digest of a segment of the peer, whose header is b[:headerLen].
func (f *flow) sign(o *optionSpec, b []byte, headerLen int) {
	g := f.guardFor(o)
	if g.AO() {
		_ = g.Use(int(o.data[0]), -1) // guardFor has put it in
	}
	var payload buffer.Buffer
	payload.Append(b[headerLen:])
	g.Sign(tcp.SignedSegment{Src: f.remote.Addr(), Dst: f.local.Addr(), Header: wire.TCP(b[:headerLen]), Payload: &payload})
	payload.Release()
}

// verifyDigests checks the digests of a segment of the host for which the script has a key, and has TCP-AO learn from the others.
func (f *flow) verifyDigests(g *segmentSpec, h wire.TCP, data []byte) string {
	var guard *auth.Guard
	for i := range g.options {
		if g.options[i].secret != nil {
			guard = f.guardFor(&g.options[i])
		}
	}
	checked := guard != nil
	if guard == nil {
		guard = f.guard
	}
	var o wire.TCPOptions
	if o.Parse(h.OptionBytes()); guard == nil || o.AuthKind == 0 {
		return ""
	}
	var payload buffer.Buffer
	payload.Append(data)
	verdict := guard.Verify(tcp.SignedSegment{Src: f.local.Addr(), Dst: f.remote.Addr(), Header: h, Payload: &payload}, &o)
	payload.Release()
	if checked && verdict != tcp.SignatureGood {
		return "its digest is not the one that this key makes"
	}
	return ""
}

// changeKeys changes the keys of a socket.
func (f *file) changeKeys(change tcp.KeyChange) error {
	switch {
	case f.listener != nil:
		return f.listener.SetKeys(change)
	case f.tcp != nil:
		return f.tcp.SetKeys(change)
	}
	keys, err := change(f.keys)
	if err == nil {
		f.keys = keys
	}
	return err
}

// setMD5 is TCP_MD5SIG: {peer="192.0.2.1", key="secret"}; without a peer it is for all, without a key it takes one away.
func setMD5(c *call, f *file, v value) error {
	key := auth.MD5Key{Peer: c.peer(v), Key: []byte(c.textField(v, "key"))}
	return f.changeKeys(auth.SetMD5(key))
}

// addAO is TCP_AO_ADD_KEY: {peer="192.0.2.1", sndid=1, rcvid=1, key="secret", alg="aes-cmac"}.
func addAO(c *call, f *file, v value) error {
	alg, _, ok := algorithm(c.textField(v, "alg"))
	if !ok {
		c.bad("unknown algorithm %s: expected hmac-sha1, aes-cmac or hmac-sha256", c.textField(v, "alg"))
	}
	key := auth.AOKey{
		Peer: c.peer(v), SendID: uint8(c.numberField(v, "sndid")), RecvID: uint8(c.numberField(v, "rcvid")), Algorithm: alg,
		Key: []byte(c.textField(v, "key")),
	}
	return f.changeKeys(auth.AddAO(key))
}

// deleteAO is TCP_AO_DEL_KEY: {peer="192.0.2.1", sndid=1, rcvid=1}.
func deleteAO(c *call, f *file, v value) error {
	peer, snd, rcv := c.peer(v), uint8(c.numberField(v, "sndid")), uint8(c.numberField(v, "rcvid"))
	return f.changeKeys(auth.DeleteAO(peer, snd, rcv))
}

// peer is the address or prefix in a field of that name; none is everybody.
func (c *call) peer(v value) netip.Prefix {
	text := c.textField(v, "peer")
	if text == "" {
		return netip.Prefix{}
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		c.bad("%s: expected an address or a prefix as peer, found %q", c.ev.name, text)
	}
	return p
}

// textField is a field of a struct that is a text; "" if it is not there.
func (c *call) textField(v value, name string) string {
	part, ok := v.field(name, -1)
	if v.kind != structValue || ok && part.kind != textValue {
		c.bad("%s: expected a struct in which %s is a text", c.ev.name, name)
	}
	return part.text
}

// numberField is a field of a struct that is a number; 0 if it is not there.
func (c *call) numberField(v value, name string) int64 {
	part, ok := v.field(name, -1)
	if v.kind != structValue || ok && part.kind != numberValue {
		c.bad("%s: expected a struct in which %s is a number", c.ev.name, name)
	}
	return part.number
}
