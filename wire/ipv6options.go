package wire

// IPv6OptionType is the first byte of an option in a hop-by-hop or destination options header (RFC 8200 §4.2).
type IPv6OptionType uint8

// IPv6 option types.
const (
	IPv6OptionPad1        IPv6OptionType = 0    // one byte of padding, without a length
	IPv6OptionPadN        IPv6OptionType = 1    // padding
	IPv6OptionRouterAlert IPv6OptionType = 0x05 // RFC 2711
	IPv6OptionJumbo       IPv6OptionType = 0xc2 // jumbo payload, RFC 2675
)

// IPv6OptionAction is what a node does that does not know an option: the two highest bits of its type.
type IPv6OptionAction uint8

// The actions of RFC 8200 §4.2.
const (
	OptionSkip                   IPv6OptionAction = iota // go on with the next option
	OptionDiscard                                        // discard the packet
	OptionDiscardReport                                  // discard it and send a parameter problem, code 2, that points to the option
	OptionDiscardReportToUnicast                         // the same, but only if the packet's destination was not a multicast address
)

// Action is what a node does that does not know the option.
func (t IPv6OptionType) Action() IPv6OptionAction { return IPv6OptionAction(t >> 6) }

// MayChange reports whether the option's data may change on the way.
func (t IPv6OptionType) MayChange() bool { return t&0x20 != 0 }

// IPv6Option is one option of a hop-by-hop or destination options header.
type IPv6Option struct {
	Type   IPv6OptionType
	Offset int    // of the type byte, from the start of the IPv6 header: what a parameter problem points to
	Data   []byte // behind type and length
}

// IPv6Options goes through the options of a hop-by-hop or destination options header. Padding is passed over; the end of the header
// and an impossible length end it.
type IPv6Options struct {
	rest   []byte
	offset int // of rest in the packet
	option IPv6Option
	err    error
}

// Next goes to the next option, and reports whether there is one.
func (it *IPv6Options) Next() bool {
	for len(it.rest) > 0 {
		b, at := it.rest, it.offset
		if IPv6OptionType(b[0]) == IPv6OptionPad1 {
			it.rest, it.offset = b[1:], at+1
			continue
		}
		it.rest = nil
		if len(b) < 2 || 2+int(b[1]) > len(b) {
			it.err = ErrOption
			return false
		}
		n := 2 + int(b[1])
		it.rest, it.offset = b[n:], at+n
		if IPv6OptionType(b[0]) != IPv6OptionPadN {
			it.option = IPv6Option{Type: IPv6OptionType(b[0]), Offset: at, Data: b[2:n:n]}
			return true
		}
	}
	return false
}

// Option is the option that Next went to.
func (it *IPv6Options) Option() IPv6Option { return it.option }

// Err is ErrOption if the iteration ended at an option with an impossible length, else nil.
func (it *IPv6Options) Err() error { return it.err }

// Pointer is the offset from the start of the IPv6 header of the option that Err complains about.
func (it *IPv6Options) Pointer() int { return it.offset }
