package drill

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/sched"
)

// callSpec is one socket call: how many arguments it has, and what begins it.
type callSpec struct {
	least, most int
	begin       func(c *call) step
}

func (s callSpec) arity() string {
	if s.least == s.most {
		return fmt.Sprint(s.least)
	}
	return fmt.Sprintf("%d to %d", s.least, s.most)
}

// step is a try at a call: what it gives, or that it has to wait.
type step func() outcome

// outcome is what a try at a call gives.
type outcome struct {
	result int64
	errno  string        // "" if it succeeded
	wait   bool          // not yet: try again when something has happened
	check  func() string // looks at what the call has filled in; says what is wrong
}

func gives(n int64) outcome { return outcome{result: n} }

func fails(errno string) outcome { return outcome{result: -1, errno: errno} }

func failsBy(err error) outcome { return fails(errnoName(err)) }

// always is a step that gives the same each time.
func always(o outcome) step { return func() outcome { return o } }

// calls are the socket calls.
var calls = map[string]callSpec{
	"socket":        {3, 3, callSocket},
	"bind":          {3, 3, callBind},
	"listen":        {2, 2, callListen},
	"accept":        {3, 3, callAccept},
	"accept4":       {4, 4, callAccept},
	"connect":       {3, 3, callConnect},
	"close":         {1, 1, callClose},
	"shutdown":      {2, 2, callShutdown},
	"read":          {3, 3, callRead},
	"recv":          {4, 4, callRead},
	"recvfrom":      {6, 6, callRead},
	"readv":         {3, 3, callReadv},
	"recvmsg":       {3, 3, callRecvmsg},
	"write":         {3, 3, callWrite},
	"send":          {4, 4, callWrite},
	"sendto":        {6, 6, callWrite},
	"writev":        {3, 3, callWritev},
	"sendmsg":       {3, 3, callSendmsg},
	"setsockopt":    {5, 5, callSetsockopt},
	"getsockopt":    {5, 5, callGetsockopt},
	"getsockname":   {3, 3, callName},
	"getpeername":   {3, 3, callName},
	"ioctl":         {2, 3, callIoctl},
	"fcntl":         {2, 3, callFcntl},
	"poll":          {3, 3, callPoll},
	"epoll_create":  {1, 1, callEpollCreate},
	"epoll_create1": {1, 1, callEpollCreate},
	"epoll_ctl":     {4, 4, callEpollCtl},
	"epoll_wait":    {4, 4, callEpollWait},
	"sendfile":      {4, 4, callSendfile},
	"splice":        {6, 6, callSplice},
	"pipe":          {1, 1, callPipe},
	"open":          {2, 3, callOpen},
}

func callNames() string { return strings.Join(slices.Sorted(maps.Keys(calls)), ", ") }

// call is a call under way.
type call struct {
	r     *runner
	ev    *callEvent
	event *event
	begin sched.Time
	end   sched.Time // when it is to end
	waits bool       // the script gives it time
	step  step
}

// argError is a wrong argument: an error of the script, not of the host.
type argError struct{ msg string }

// bad ends the evaluation of a call's arguments.
func (c *call) bad(format string, args ...any) { panic(argError{fmt.Sprintf(format, args...)}) }

// call begins a call, and ends it if it need not wait.
func (r *runner) call(ev *callEvent, end sched.Time) (err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case argError:
			err = r.mismatch("%s", e.msg)
		default:
			panic(e)
		}
	}()
	c := &call{r: r, ev: ev, event: r.event, begin: r.clock.Now(), end: end, waits: r.event.when.blocking}
	c.step = calls[ev.name].begin(c)
	o := c.step()
	if o.wait && !c.waits {
		if r.script.set.anyCalls {
			return nil
		}
		return r.mismatch("%s would wait: give it time, as in +0...+0.1 %s", ev.name, ev.name)
	}
	if o.wait {
		r.note(c.begin, "", ev.name+"(…) waits")
		r.pending = append(r.pending, c)
		return nil
	}
	if err := r.finishCall(c, o); err != nil {
		return err
	}
	return r.poll()
}

// poll tries the calls that wait again, as something may have happened for them.
func (r *runner) poll() error {
	for i := 0; i < len(r.pending); i++ {
		c := r.pending[i]
		o := c.step()
		if o.wait {
			if r.clock.Now() > c.end.Add(r.script.set.tolerance) {
				return r.late(c)
			}
			continue
		}
		r.pending = slices.Delete(r.pending, i, i+1)
		if err := r.finishCall(c, o); err != nil {
			return err
		}
		i = -1 // it may have changed what others wait for
	}
	return nil
}

// late is the error of a call that has not ended in time.
func (r *runner) late(c *call) error {
	if r.script.set.anyCalls {
		r.pending = slices.DeleteFunc(r.pending, func(o *call) bool { return o == c })
		return nil
	}
	return r.mismatchAt(c.event.pos.line, c.event.text, "%s still waits, expected its end at %v", c.ev.name, seconds(c.end))
}

// finishCall compares what a call has given with what the script expects.
func (r *runner) finishCall(c *call, o outcome) error {
	now := r.clock.Now()
	text := fmt.Sprintf("%s(…) = %d", c.ev.name, o.result)
	if o.errno != "" {
		text += " " + o.errno
	}
	r.note(now, "", text)
	if r.script.set.anyCalls {
		return nil
	}
	wrong := func(format string, args ...any) error {
		return r.mismatchAt(c.event.pos.line, c.event.text, format, args...)
	}
	want := c.ev.errno
	if want == "EWOULDBLOCK" {
		want = "EAGAIN"
	}
	expected := c.ev.result.source
	if want != "" {
		expected += " " + want
	}
	switch any := c.ev.result.kind == anyValue; {
	case !any && o.errno != want:
		return wrong("%s, expected %s", text, expected)
	case !any && c.ev.result.number != o.result:
		return wrong("%s, expected %s", text, expected)
	}
	if tolerance := r.script.set.tolerance; c.waits && (now < c.end.Add(-tolerance) || now > c.end.Add(tolerance)) {
		return wrong("%s ended at %v, expected %v: %+.6f s off", c.ev.name, seconds(now), seconds(c.end), now.Sub(c.end).Seconds())
	}
	if o.check != nil {
		if problem := o.check(); problem != "" {
			return wrong("%s", problem)
		}
	}
	return nil
}

// number is an argument that must be a number.
func (c *call) number(i int, what string) int64 {
	if c.ev.args[i].kind != numberValue {
		c.bad("argument %d of %s is %s: expected %s", i+1, c.ev.name, c.ev.args[i], what)
	}
	return c.ev.args[i].number
}

// newFD is the descriptor that the script expects as the result, else the lowest free one.
func (c *call) newFD() int {
	if c.ev.result.kind == numberValue && c.ev.result.number >= 0 && c.r.files[int(c.ev.result.number)] == nil {
		return int(c.ev.result.number)
	}
	fd := 3
	for c.r.files[fd] != nil {
		fd++
	}
	return fd
}

// file is what a descriptor stands for.
func (c *call) file(i int) (*file, bool) {
	fd := c.number(i, "a descriptor")
	f := c.r.files[int(fd)]
	if f != nil && f.kind == socketFile {
		c.r.lastFile = f
	}
	return f, f != nil
}

// socket is the socket that an argument stands for; else the outcome of the call.
func (c *call) socket(i int) (*file, *outcome) {
	f, ok := c.file(i)
	if !ok {
		o := fails("EBADF")
		return nil, &o
	}
	if f.kind != socketFile {
		o := fails("ENOTSOCK")
		return nil, &o
	}
	return f, nil
}

// Notify is the host's word that a socket is ready: calls that wait are tried after each step anyway.
func (*file) Notify(stack.Ready) {}
