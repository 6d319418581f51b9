package proxygpt

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// errTooLong says that an event exceeds the limit.
var errTooLong = errors.New("an event of the stream is too long")

// eventLimit bounds one event: the longest reply has 4 MiB, of which JSON may make six times as much.
const eventLimit = 64 << 20

// event is one server-sent event. An id without data is an event without data here.
type event struct {
	name string
	data []byte
	// id is the last id that the stream has named so far.
	id string
}

// eventParser reads server-sent events (WHATWG HTML, section 9.2) from pieces of any size.
//
// An event that is not complete when the connection breaks is not an event.
type eventParser struct {
	line       []byte
	followsCR  bool
	isBOMRead  bool
	name       string
	data       []byte
	hasData    bool
	hasID      bool
	id         string
	events     []event
	retry      time.Duration
	comments   int
	eventBytes int
}

// feed reads a piece. The complete events are then in events.
func (p *eventParser) feed(piece []byte) error {
	for len(piece) > 0 {
		if p.followsCR {
			p.followsCR = false
			if piece[0] == '\n' {
				piece = piece[1:]
				continue
			}
		}
		end := bytes.IndexAny(piece, "\r\n")
		if end < 0 {
			p.line = append(p.line, piece...)
			return p.checkSize(len(piece))
		}
		p.line = append(p.line, piece[:end]...)
		if err := p.checkSize(end); err != nil {
			return err
		}
		p.followsCR = piece[end] == '\r'
		piece = piece[end+1:]
		p.endLine()
		p.line = p.line[:0]
	}
	return nil
}

func (p *eventParser) checkSize(added int) error {
	p.eventBytes += added
	if p.eventBytes > eventLimit {
		return errTooLong
	}
	return nil
}

func (p *eventParser) endLine() {
	line := p.line
	if !p.isBOMRead {
		p.isBOMRead = true
		line = bytes.TrimPrefix(line, []byte("\xEF\xBB\xBF"))
	}
	if len(line) == 0 {
		p.endEvent()
		return
	}
	if line[0] == ':' {
		p.comments++
		return
	}
	field, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "event":
		p.name = string(value)
	case "data":
		if p.hasData {
			p.data = append(p.data, '\n')
		}
		p.data = append(p.data, value...)
		p.hasData = true
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.id = string(value)
			p.hasID = true
		}
	case "retry":
		if milliseconds, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			p.retry = time.Duration(milliseconds) * time.Millisecond
		}
	}
}

func (p *eventParser) endEvent() {
	if p.hasData || p.hasID {
		name := p.name
		if name == "" {
			name = "message"
		}
		p.events = append(p.events, event{name: name, data: p.data, id: p.id})
	}
	p.name, p.data, p.hasData, p.hasID, p.eventBytes = "", nil, false, false, 0
}
