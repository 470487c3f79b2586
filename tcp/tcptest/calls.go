package tcptest

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
)

// configure sets what config lines name.
func (r *runner) configure(args []string) error {
	if r.end.Conn != nil || r.end.listening {
		return errors.New("config after the first call")
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not KEY=VALUE", arg)
		}
		if err := r.set(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) set(key, value string) (err error) {
	c, p := &r.config, &r.end.Params
	durations := map[string]*time.Duration{"minrto": &c.MinRTO, "maxrto": &c.MaxRTO, "delack": &c.DelayedAck, "timewait": &c.TimeWait,
		"finwait2": &c.FinWait2, "usertimeout": &c.UserTimeout, "granularity": &c.Granularity}
	ints := map[string]*int{"mss": &p.MSS, "gso": &p.GSOMax, "sndbuf": &c.SendBuffer, "rcvbuf": &c.ReceiveBuffer, "reordering": &c.Reordering}
	seqs := map[string]*tcp.Seq{"iss": &p.ISS, "irs": &r.irs}
	switches := map[string]*bool{"ts": &c.NoTimestamps, "sack": &c.NoSACK, "wscale": &c.NoWindowScale,
		"rack": &c.NoRACK, "tlp": &c.NoTLP, "frto": &c.NoFRTO, "dsack": &c.NoDSACK}
	switch {
	case durations[key] != nil:
		*durations[key], err = seconds(value)
	case ints[key] != nil:
		*ints[key], err = strconv.Atoi(value)
	case seqs[key] != nil:
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		*seqs[key] = tcp.Seq(n)
	case switches[key] != nil:
		*switches[key] = value == "off"
	case key == "cc":
		c.Congestion = value
	default:
		return fmt.Errorf("config has no %q", key)
	}
	p.GSOMax = max(p.GSOMax, p.MSS)
	return err
}

// call is a call of the application.
func (r *runner) call(verb string, args []string) error {
	e := r.end
	args = append(args, "", "", "") // what is left out is empty
	switch verb {
	case "connect":
		e.Connect(r.now)
		return nil
	case "listen":
		e.Manual = args[0] == "manual"
		e.Listen()
		return nil
	case "open", "refuse":
		if e.Syn == nil {
			return errors.New("no SYN waits")
		}
		if verb == "open" {
			e.Open(r.now)
		} else {
			e.Refuse(r.now)
		}
		return nil
	}
	if e.Conn == nil {
		return fmt.Errorf("%s without a connection", verb)
	}
	return r.callConn(verb, args)
}

func (r *runner) callConn(verb string, args []string) error {
	e := r.end
	switch verb {
	case "write":
		return r.write(args)
	case "read":
		return r.read(args)
	case "shutdown":
		return matches(e.CloseWrite(r.now), args[0])
	case "closeread":
		e.CloseRead(r.now)
	case "close":
		e.Close(r.now)
	case "abort":
		reason, ok := errnoNamed(orText(args[0], "none"))
		if !ok {
			return fmt.Errorf("%q is no error", args[0])
		}
		e.Abort(r.now, reason)
	case "nodelay":
		e.Conn.SetNoDelay(args[0] == "on")
		e.Flush(r.now)
	case "cc":
		return e.Conn.SetCongestion(args[0])
	case "icmp":
		return r.icmp(args)
	default:
		return r.tune(verb, args)
	}
	return nil
}

// tune is the calls that take numbers.
func (r *runner) tune(verb string, args []string) error {
	e := r.end
	var n [3]time.Duration // whole numbers are their seconds
	for i, arg := range args[:3] {
		if arg == "" {
			continue
		}
		d, err := seconds(arg)
		if err != nil {
			return err
		}
		n[i] = d
	}
	count := func(d time.Duration) int { return int(d / time.Second) }
	switch verb {
	case "keepalive":
		e.Conn.SetKeepAlive(r.now, n[0], n[1], count(n[2]))
	case "usertimeout":
		e.Conn.SetUserTimeout(n[0])
	case "setmss":
		e.Conn.SetMSS(r.now, count(n[0]))
	case "buffers":
		e.note(r.now, e.Conn.SetBuffers(count(n[0]), count(n[1])))
	default:
		return fmt.Errorf("%q is not a verb", verb)
	}
	e.Flush(r.now)
	return nil
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// matches compares an error with its name; "" is none.
func matches(err error, name string) error {
	want, ok := errnoNamed(orText(name, "none"))
	if !ok {
		return fmt.Errorf("%q is no error", name)
	}
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		return fmt.Errorf("the error is %v", err)
	}
	return nil
}

// sizes reads N and what should come of it: a number, or the name of an error.
func sizes(args []string) (n, want int, failure string, err error) {
	n, err = strconv.Atoi(args[0])
	if err != nil || args[1] == "" {
		return n, n, "", err
	}
	if want, err := strconv.Atoi(args[1]); err == nil {
		return n, want, "", nil
	}
	return n, 0, args[1], nil
}

func (r *runner) write(args []string) error {
	n, want, failure, err := sizes(args)
	if err != nil {
		return err
	}
	done, err := r.end.Write(r.now, n)
	if failure != "" || err != nil {
		return matches(err, failure)
	}
	if done != want {
		return fmt.Errorf("%d bytes were taken", done)
	}
	return nil
}

func (r *runner) read(args []string) error {
	n, want, failure, err := sizes(args)
	if err != nil {
		return err
	}
	got, err := r.end.Read(r.now, n, peerName)
	switch {
	case failure == "EOF" && err == io.EOF:
		return nil
	case failure != "" && err == nil:
		return fmt.Errorf("got %d bytes", got)
	case failure != "" || err != nil:
		return matches(err, failure)
	case got != want:
		return fmt.Errorf("got %d bytes", got)
	}
	return nil
}

func (r *runner) icmp(args []string) error {
	seq, err := parseNumber(args[0])
	if err != nil {
		return err
	}
	reason, ok := errnoNamed(args[2])
	if !ok || reason == nil {
		return fmt.Errorf("%q is no error", args[2])
	}
	e := r.end
	e.note(r.now, e.Conn.ICMPError(r.now, seq.seq(e.Params.ISS), reason, args[1] == "hard"))
	e.Flush(r.now)
	return nil
}

// check is the lines that look at the connection.
func (r *runner) check(verb string, args []string) error {
	e := r.end
	if len(args) == 0 {
		return fmt.Errorf("%s of what?", verb)
	}
	if verb == "state" {
		if got := e.state(); got != args[0] {
			return fmt.Errorf("the state is %s", got)
		}
		return nil
	}
	if verb == "event" {
		return r.checkEvents(args)
	}
	if verb == "deadline" {
		return r.checkDeadline(args[0])
	}
	if e.Conn == nil {
		return fmt.Errorf("%s without a connection", verb)
	}
	if verb == "err" {
		return matches(e.Conn.Err(), args[0])
	}
	return r.checkInfo(args)
}

// state is the name of the state, whatever keeps it.
func (e *End) state() string {
	switch {
	case e.Syn != nil:
		return stateName(tcp.SynReceived)
	case e.TimeWait != nil:
		return stateName(tcp.TimeWaiting)
	case e.Conn != nil && !e.gone:
		return stateName(e.Conn.State())
	case e.listening && e.Conn == nil:
		return "LISTEN"
	}
	return stateName(tcp.Closed)
}

func (r *runner) checkEvents(args []string) error {
	names := map[string]tcp.Events{"readable": tcp.Readable, "writable": tcp.Writable, "connected": tcp.Connected, "failed": tcp.Failed,
		"timewait": tcp.TimeWaitNow, "done": tcp.Done, "pathsuspect": tcp.PathSuspect}
	events := r.end.Events
	r.end.Events = 0
	for _, arg := range args {
		name, absent := strings.CutPrefix(arg, "!")
		event, ok := names[name]
		if !ok {
			return fmt.Errorf("%q is no event", name)
		}
		if (events&event != 0) == absent {
			return fmt.Errorf("%q does not hold of events %#x", arg, events)
		}
	}
	return nil
}

func (r *runner) checkDeadline(arg string) error {
	d := r.end.Deadline()
	if arg == "none" {
		if d != sched.Never {
			return fmt.Errorf("the deadline is in %v", d.Sub(r.now))
		}
		return nil
	}
	want, err := seconds(arg)
	if err != nil {
		return err
	}
	if d != r.now.Add(want) {
		if d == sched.Never {
			return errors.New("there is no deadline")
		}
		return fmt.Errorf("the deadline is in %v", d.Sub(r.now))
	}
	return nil
}

func (r *runner) checkInfo(args []string) error {
	i := r.end.Conn.Info()
	numbers := map[string]int{"cwnd": i.Cwnd, "ssthresh": i.Ssthresh, "mss": i.SendMSS, "sndwnd": i.SendWindow, "rcvwnd": i.ReceiveWindow,
		"sent": int(i.BytesSent), "acked": int(i.BytesAcked), "received": int(i.BytesReceived), "retransmits": int(i.Retransmits),
		"rtos": int(i.RTOs), "ooo": int(i.OutOfOrder), "dupacks": int(i.DupAcks), "inflight": i.InFlight, "sndq": i.SendQueue,
		"rcvq": i.ReceiveQueue}
	durations := map[string]time.Duration{"rtt": i.RTT, "rttvar": i.RTTVar, "rto": i.RTO, "minrtt": i.MinRTT}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		if d, ok := durations[key]; ok {
			want, err := seconds(value)
			if err != nil {
				return err
			}
			if d != want {
				return fmt.Errorf("%s is %v", key, d)
			}
			continue
		}
		n, ok := numbers[key]
		if !ok {
			return fmt.Errorf("info has no %q", key)
		}
		if want, err := strconv.Atoi(value); err != nil || want != n {
			return fmt.Errorf("%s is %d", key, n)
		}
	}
	return nil
}
