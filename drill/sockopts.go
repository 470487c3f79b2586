package drill

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/cc"
)

// optionName is a socket option: its level and name as scripts have them.
type optionName struct{ level, name string }

// sockOption is one row of the table: how an option is set, and how it is read. Who adds an option to the host adds its row.
type sockOption struct {
	// start is what the option means for a connection to come, of the socket or of those that a listener accepts; live changes one that
	// is there. Without start, live is called when there is one.
	start func(o *tcp.Options, v int64)
	live  func(now sched.Time, conn *tcp.Conn, v int64) error
	// set is for what concerns more than the connection.
	set func(c *call, f *file, v int64) error
	// get reads it. Nil: what set was given last, or dflt. An option that has neither start, live nor set cannot be set (ENOPROTOOPT).
	get  func(c *call, f *file) int64
	dflt int64
	// setValue is set for options whose value is no number, getValue compares what the script expects with what is: what is wrong.
	setValue func(c *call, f *file, v value) error
	getValue func(c *call, f *file, v value) string
}

// onlyInline is for SO_OOBINLINE: urgent data is always received in line (RFC 6093 §6).
func onlyInline(_ *call, _ *file, v int64) error {
	if v == 0 {
		return syscall.EOPNOTSUPP
	}
	return nil
}

// keep is for options of which the host knows nothing and that change nothing a script could see.
func keep(*call, *file, int64) error { return nil }

// sockOptions is the table of socket options.
var sockOptions = map[optionName]sockOption{
	{"SOL_SOCKET", "SO_ERROR"}:     {get: getError},
	{"SOL_SOCKET", "SO_KEEPALIVE"}: {set: setKeepAlive},
	{"SOL_SOCKET", "SO_LINGER"}:    {setValue: setLinger, getValue: getLinger},
	{"SOL_SOCKET", "SO_MAX_PACING_RATE"}: {
		start: func(o *tcp.Options, v int64) { o.MaxPacingRate = v },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetMaxPacingRate(v); return nil },
	},
	{"SOL_SOCKET", "SO_RCVTIMEO"}:     {setValue: setReceiveTimeout, getValue: getReceiveTimeout},
	{"SOL_SOCKET", "SO_OOBINLINE"}:    {set: onlyInline},
	{"SOL_SOCKET", "SO_REUSEADDR"}:    {set: keep}, // bind, listen and connect look at it
	{"SOL_SOCKET", "SO_REUSEPORT"}:    {set: keep},
	{"SOL_SOCKET", "SO_BINDTODEVICE"}: {setValue: setDevice},

	{"IPPROTO_IP", "IP_TTL"}:               ipOption(setTTL),
	{"IPPROTO_IP", "IP_MINTTL"}:            ipOption(setMinTTL),
	{"IPPROTO_IP", "IP_MTU"}:               {get: pathMTU},
	{"IPPROTO_IPV6", "IPV6_MTU"}:           {get: pathMTU},
	{"IPPROTO_IP", "IP_MTU_DISCOVER"}:      {set: setPathMTU, dflt: 1},
	{"IPPROTO_IPV6", "IPV6_MTU_DISCOVER"}:  {set: setPathMTU, dflt: 1},
	{"IPPROTO_IP", "IP_TOS"}:               ipOption(setTOS),
	{"IPPROTO_IPV6", "IPV6_UNICAST_HOPS"}:  ipOption(setTTL),
	{"IPPROTO_IPV6", "IPV6_MINHOPCOUNT"}:   ipOption(setMinTTL),
	{"IPPROTO_IPV6", "IPV6_TCLASS"}:        ipOption(setTOS),
	{"IPPROTO_IPV6", "IPV6_AUTOFLOWLABEL"}: {set: setAutoLabel},
	{"SOL_SOCKET", "SO_SNDBUF"}: {
		start: func(o *tcp.Options, v int64) { o.SendBuffer = int(v) },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetBuffers(int(v), 0); return nil },
	},
	{"SOL_SOCKET", "SO_RCVBUF"}: {
		start: func(o *tcp.Options, v int64) { o.ReceiveBuffer = int(v) },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetBuffers(0, int(v)); return nil },
		set: func(_ *call, f *file, v int64) error {
			if f.udp != nil {
				f.udp.SetReadBuffer(int(v))
			}
			return nil
		},
	},
	{"SOL_SOCKET", "SO_TYPE"}: {get: func(_ *call, f *file) int64 {
		if f.stream {
			return symbols["SOCK_STREAM"]
		}
		return symbols["SOCK_DGRAM"]
	}},
	{"SOL_SOCKET", "SO_DOMAIN"}:     {get: func(_ *call, f *file) int64 { return f.domain }},
	{"SOL_SOCKET", "SO_ACCEPTCONN"}: {get: func(_ *call, f *file) int64 { return boolNumber(f.listener != nil) }},
	{"IPPROTO_IPV6", "IPV6_V6ONLY"}: {set: keep},
	{"IPPROTO_TCP", "TCP_NODELAY"}: {
		start: func(o *tcp.Options, v int64) { o.Nagle = v == 0 },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetNoDelay(v != 0); return nil },
	},
	{"IPPROTO_TCP", "TCP_CORK"}: {
		live: func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetCork(v != 0); return nil },
	},
	{"IPPROTO_TCP", "TCP_NOTSENT_LOWAT"}: {
		live: func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetNotSentLowat(int(v)); return nil },
	},
	{"IPPROTO_TCP", "TCP_QUICKACK"}: {
		live: func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetQuickAck(v != 0); return nil },
	},
	{"IPPROTO_TCP", "TCP_WINDOW_CLAMP"}: {
		live: func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetWindowClamp(int(v)); return nil },
	},
	{"SOL_SOCKET", "SO_RCVLOWAT"}: {
		live: func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetReceiveLowat(int(v)); return nil },
		dflt: 1,
	},
	{"IPPROTO_TCP", "TCP_KEEPIDLE"}:  {set: setKeepAlive, dflt: 7200},
	{"IPPROTO_TCP", "TCP_KEEPINTVL"}: {set: setKeepAlive, dflt: 75},
	{"IPPROTO_TCP", "TCP_KEEPCNT"}:   {set: setKeepAlive, dflt: 9},
	{"IPPROTO_TCP", "TCP_USER_TIMEOUT"}: {
		start: func(o *tcp.Options, v int64) { o.UserTimeout = millis(v) },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetUserTimeout(millis(v)); return nil },
	},
	{"IPPROTO_TCP", "TCP_SYNCNT"}: {
		start: func(o *tcp.Options, v int64) { o.SynRetries = int(v) },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetSynRetries(int(v)); return nil },
	},
	{"IPPROTO_TCP", "TCP_LINGER2"}: {
		start: func(o *tcp.Options, v int64) { o.FinWait2 = secondsOf(v) },
		live:  func(_ sched.Time, conn *tcp.Conn, v int64) error { conn.SetFinWait2(secondsOf(v)); return nil },
	},
	{"IPPROTO_TCP", "TCP_DEFER_ACCEPT"}:     {start: func(o *tcp.Options, v int64) { o.DeferAccept = secondsOf(v) }},
	{"IPPROTO_TCP", "TCP_FASTOPEN"}:         {set: setFastOpen},
	{"IPPROTO_TCP", "TCP_FASTOPEN_CONNECT"}: {set: keep},
	{"IPPROTO_TCP", "TCP_CONGESTION"}:       {setValue: setCongestion, getValue: getCongestion},
	{"IPPROTO_TCP", "TCP_MD5SIG"}:           {setValue: setMD5},
	{"IPPROTO_TCP", "TCP_AO_ADD_KEY"}:       {setValue: addAO},
	{"IPPROTO_TCP", "TCP_AO_DEL_KEY"}:       {setValue: deleteAO},
	{"IPPROTO_TCP", "TCP_MAXSEG"}: {
		start: func(o *tcp.Options, v int64) { o.MSS = int(v) },
		live:  func(now sched.Time, conn *tcp.Conn, v int64) error { conn.SetMaxSegment(now, int(v)); return nil },
		get: func(_ *call, f *file) int64 {
			if f.tcp == nil {
				return 536
			}
			return int64(f.tcp.Info().SendMSS)
		},
	},
}

// setNumber sets an option whose value is a number.
func (o *sockOption) setNumber(c *call, f *file, name optionName, v int64) error {
	f.values[name] = v
	if o.set != nil {
		if err := o.set(c, f, v); err != nil {
			return err
		}
	}
	change := configure(func(now sched.Time, conn *tcp.Conn) error { return o.live(now, conn, v) })
	switch {
	case f.tcp != nil && o.live != nil:
		return change(f.tcp)
	case o.start != nil:
		o.start(&f.start, v)
	case o.live != nil:
		f.options = append(f.options, change)
	}
	return nil
}

func boolNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// optionOf is the table's name of an option: a level has several names.
func (c *call) optionOf() (name optionName, o sockOption) {
	level := map[int64]string{0: "IPPROTO_IP", 1: "SOL_SOCKET", 6: "IPPROTO_TCP", 17: "IPPROTO_UDP", 41: "IPPROTO_IPV6"}[c.number(1, "a level")]
	c.number(2, "an option")
	name = optionName{level, c.ev.args[2].source}
	o, ok := sockOptions[name]
	if !ok {
		c.bad("%s: drill does not know the option %s of %s: who adds it to the host adds its row in drill/sockopts.go", c.ev.name, name.name,
			c.ev.args[1])
	}
	return name, o
}

func callSetsockopt(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	name, o := c.optionOf()
	v := c.ev.args[3]
	return func() outcome {
		var err error
		switch {
		case o.setValue != nil:
			err = o.setValue(c, f, v)
		case o.set == nil && o.start == nil && o.live == nil:
			return fails("ENOPROTOOPT")
		default:
			err = o.setNumber(c, f, name, c.optionNumber(v))
		}
		if err != nil {
			return failsBy(err)
		}
		return gives(0)
	}
}

// optionNumber is the value of an option that is a number: [1] or 1.
func (c *call) optionNumber(v value) int64 {
	if v.kind == listValue && len(v.parts) == 1 {
		v = v.parts[0]
	}
	if v.kind != numberValue {
		c.bad("argument 4 of %s is %s: expected a number like [1]", c.ev.name, v)
	}
	return v.number
}

func callGetsockopt(c *call) step {
	f, bad := c.socket(0)
	if bad != nil {
		return always(*bad)
	}
	name, o := c.optionOf()
	want := c.ev.args[3]
	return func() outcome {
		out := gives(0)
		if o.getValue != nil {
			out.check = func() string { return o.getValue(c, f, want) }
			return out
		}
		v, set := f.values[name]
		if !set {
			v = o.dflt
		}
		if o.get != nil {
			v = o.get(c, f)
		}
		out.check = func() string {
			if want.kind == anyValue || want.kind == listValue && len(want.parts) == 1 && want.parts[0].kind == anyValue {
				return ""
			}
			if n := c.optionNumber(want); n != v {
				return fmt.Sprintf("%s is %d, expected %d", name.name, v, n)
			}
			return ""
		}
		return out
	}
}

// getError is SO_ERROR: the connection's error, once.
func getError(_ *call, f *file) int64 {
	if f.tcp == nil || f.errTaken {
		return 0
	}
	var err error
	_ = f.tcp.Configure(func(_ sched.Time, conn *tcp.Conn) error {
		err = conn.Err()
		return nil
	})
	if err == nil {
		return 0
	}
	f.errTaken = true
	return errnoNumbers[errnoName(err)]
}

// setKeepAlive sets what the keepalive options say together.
func setKeepAlive(c *call, f *file, _ int64) error {
	r := c.r
	idle, interval, count := r.config.keepIdle, r.config.keepInterv, r.config.keepCount
	if v := f.values[optionName{"IPPROTO_TCP", "TCP_KEEPIDLE"}]; v > 0 {
		idle = secondsOf(v)
	}
	if v := f.values[optionName{"IPPROTO_TCP", "TCP_KEEPINTVL"}]; v > 0 {
		interval = secondsOf(v)
	}
	if v := f.values[optionName{"IPPROTO_TCP", "TCP_KEEPCNT"}]; v > 0 {
		count = int(v)
	}
	if f.values[optionName{"SOL_SOCKET", "SO_KEEPALIVE"}] == 0 {
		idle = 0
	}
	f.start.KeepAlive = tcp.KeepAlive{Idle: idle, Interval: interval, Count: count}
	if f.tcp != nil {
		return f.tcp.SetKeepAlive(idle, interval, count)
	}
	return nil
}

// setLinger takes {onoff=1, linger=0}.
func setLinger(c *call, f *file, v value) error {
	onoff, ok1 := v.field("onoff", 0)
	secs, ok2 := v.field("linger", 1)
	if !ok1 && !ok2 {
		onoff, ok1 = v.field("l_onoff", 0)
		secs, ok2 = v.field("l_linger", 1)
	}
	if v.kind != structValue || !ok1 || !ok2 || onoff.kind != numberValue || secs.kind != numberValue {
		c.bad("argument 4 of %s is %s: expected {onoff=1, linger=0}", c.ev.name, v)
	}
	f.lingerOn, f.lingerSecs = onoff.number != 0, secs.number
	return nil
}

func getLinger(_ *call, f *file, v value) string {
	onoff, _ := v.field("onoff", 0)
	secs, _ := v.field("linger", 1)
	if v.kind == structValue && (onoff.number != boolNumber(f.lingerOn) || secs.number != f.lingerSecs) {
		return fmt.Sprintf("SO_LINGER is {onoff=%d, linger=%d}, expected %s", boolNumber(f.lingerOn), f.lingerSecs, v)
	}
	return ""
}

func setCongestion(c *call, f *file, v value) error {
	if v.kind == listValue && len(v.parts) == 1 {
		v = v.parts[0]
	}
	if v.kind != textValue {
		c.bad("argument 4 of %s is %s: expected a name like \"reno\"", c.ev.name, v)
	}
	if !slices.Contains(cc.Names(), v.text) {
		return errnos["ENOENT"]
	}
	if f.tcp != nil {
		return f.tcp.SetCongestion(v.text)
	}
	f.start.Congestion = v.text
	return nil
}

func getCongestion(_ *call, f *file, v value) string {
	if v.kind == listValue && len(v.parts) == 1 {
		v = v.parts[0]
	}
	if f.tcp != nil && v.kind == textValue && f.tcp.Info().Congestion != v.text {
		return fmt.Sprintf("TCP_CONGESTION is %q, expected %q", f.tcp.Info().Congestion, v.text)
	}
	return ""
}

// timeval reads {tv_sec=1, tv_usec=500000}.
func (c *call) timeval(v value) time.Duration {
	secs, ok1 := v.field("tv_sec", 0)
	usecs, ok2 := v.field("tv_usec", 1)
	if v.kind != structValue || !ok1 || !ok2 || secs.kind != numberValue || usecs.kind != numberValue {
		c.bad("argument 4 of %s is %s: expected {tv_sec=1, tv_usec=500000}", c.ev.name, v)
	}
	return secondsOf(secs.number) + time.Duration(usecs.number)*time.Microsecond
}

func setReceiveTimeout(c *call, f *file, v value) error {
	f.receiveTimeout = c.timeval(v)
	return nil
}

func getReceiveTimeout(c *call, f *file, v value) string {
	if want := c.timeval(v); want != f.receiveTimeout {
		return fmt.Sprintf("SO_RCVTIMEO is %v, expected %v", f.receiveTimeout, want)
	}
	return ""
}
