package drill

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/weirnet/weir/wire"
)

// mapping is how the numbers of one connection differ between script and wire; nil: they are the same.
type mapping interface {
	// ackToWire maps a sequence number of the receiver of a segment: SACK blocks.
	ackToWire(uint32) uint32
	ecrToWire(uint32) uint32
	cookie() []byte
}

// appendTo appends the option's bytes to b.
func (o *optionSpec) appendTo(b []byte, m mapping) []byte {
	if o.bare {
		return append(b, o.kind)
	}
	data := o.data
	switch {
	case o.any && m != nil:
		data = append(append([]byte(nil), data...), m.cookie()...)
	case wire.TCPOptionKind(o.kind) == wire.TCPOptionTimestamps && o.data == nil && o.length < 0:
		ecr := o.ecr
		if m != nil {
			ecr = m.ecrToWire(ecr)
		}
		data = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, o.val), ecr)
	case len(o.blocks) > 0:
		data = nil
		for _, k := range o.blocks {
			if m != nil {
				k = wire.SACKBlock{Left: m.ackToWire(k.Left), Right: m.ackToWire(k.Right)}
			}
			data = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(data, k.Left), k.Right)
		}
	}
	length := o.length
	if length < 0 {
		length = 2 + len(data)
	}
	return append(append(b, o.kind, byte(length)), data...)
}

// decodeOptions takes the option bytes of a segment apart, as a script would write them. What cannot be taken apart is one last option.
func decodeOptions(b []byte) (all []optionSpec) {
	for len(b) > 0 {
		kind := wire.TCPOptionKind(b[0])
		if kind == wire.TCPOptionEnd || kind == wire.TCPOptionNOP {
			all = append(all, optionSpec{kind: b[0], bare: true, length: -1})
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			o := optionSpec{kind: b[0], bare: len(b) < 2, length: -1}
			if len(b) >= 2 {
				o.length, o.data = int(b[1]), b[2:]
			}
			return append(all, o)
		}
		o := optionSpec{kind: b[0], length: -1, data: b[2:b[1]:b[1]]}
		switch {
		case kind == wire.TCPOptionTimestamps && len(o.data) == 8:
			o.val, o.ecr = binary.BigEndian.Uint32(o.data), binary.BigEndian.Uint32(o.data[4:])
			o.data = nil
		case kind == wire.TCPOptionSACK && len(o.data) > 0 && len(o.data)%8 == 0:
			for d := o.data; len(d) > 0; d = d[8:] {
				o.blocks = append(o.blocks, wire.SACKBlock{Left: binary.BigEndian.Uint32(d), Right: binary.BigEndian.Uint32(d[4:])})
			}
			o.data = nil
		}
		all = append(all, o)
		b = b[b[1]:]
	}
	return all
}

// String is the option as a script has it.
func (o *optionSpec) String() string {
	if o.bare {
		switch wire.TCPOptionKind(o.kind) {
		case wire.TCPOptionNOP:
			return "nop"
		case wire.TCPOptionEnd:
			return "eol"
		}
		return fmt.Sprintf("opt %d bare", o.kind)
	}
	if o.length >= 0 {
		return strings.TrimSpace(fmt.Sprintf("opt %d len %d %x", o.kind, o.length, o.data))
	}
	switch kind := wire.TCPOptionKind(o.kind); {
	case kind == wire.TCPOptionMSS && len(o.data) == 2:
		return fmt.Sprintf("mss %d", binary.BigEndian.Uint16(o.data))
	case kind == wire.TCPOptionWScale && len(o.data) == 1:
		return fmt.Sprintf("wscale %d", o.data[0])
	case kind == wire.TCPOptionSACKPermitted && len(o.data) == 0:
		return "sackOK"
	case kind == wire.TCPOptionUserTimeout && len(o.data) == 2:
		return fmt.Sprintf("uto %d", binary.BigEndian.Uint16(o.data))
	case kind == wire.TCPOptionTimestamps && o.data == nil:
		return "TS val " + orAny(o.val, o.anyVal) + " ecr " + orAny(o.ecr, o.anyEcr)
	case kind == wire.TCPOptionSACK && o.data == nil:
		text := "sack"
		for _, k := range o.blocks {
			text += fmt.Sprintf(" %d:%d", k.Left, k.Right)
		}
		return text
	case kind == wire.TCPOptionFastOpen:
		return o.digest("FO", nil)
	case kind == wire.TCPOptionMD5:
		return o.digest("md5", nil)
	case kind == wire.TCPOptionAO && (o.any || len(o.data) >= 2):
		if o.any {
			return "ao ..."
		}
		if o.secret != nil {
			return fmt.Sprintf("ao %d %d %q", o.data[0], o.data[1], o.secret.key)
		}
		return strings.TrimSpace(fmt.Sprintf("ao %d %d %x", o.data[0], o.data[1], o.data[2:]))
	case (kind == wire.TCPOptionAccECN0 || kind == wire.TCPOptionAccECN1) && len(o.data) <= 9 && len(o.data)%3 == 0:
		return o.accECN()
	}
	return strings.TrimSpace(fmt.Sprintf("opt %d %x", o.kind, o.data))
}

func (o *optionSpec) digest(name string, skip []byte) string {
	if o.any {
		return name + " ..."
	}
	if o.secret != nil {
		return fmt.Sprintf("%s %q", name, o.secret.key)
	}
	return strings.TrimSpace(name + " " + hex.EncodeToString(o.data[len(skip):]))
}

func (o *optionSpec) accECN() string {
	names := []string{"e0b", "ceb", "e1b"}
	if wire.TCPOptionKind(o.kind) == wire.TCPOptionAccECN1 {
		names = []string{"e1b", "ceb", "e0b"}
	}
	text := "ECN"
	for i := 0; i+3 <= len(o.data); i += 3 {
		text += fmt.Sprintf(" %s %d", names[i/3], int(o.data[i])<<16|int(o.data[i+1])<<8|int(o.data[i+2]))
	}
	return text
}

func orAny(n uint32, any bool) string {
	if any {
		return "..."
	}
	return fmt.Sprint(n)
}
