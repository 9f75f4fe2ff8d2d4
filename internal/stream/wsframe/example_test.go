package wsframe_test

import (
	"fmt"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
)

// The frame of RFC 6455, section 5.7: a masked text message "Hello".
func ExampleParse() {
	frame := []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}
	h, err := wsframe.Parse(frame)
	if err != nil {
		fmt.Println(err)
		return
	}
	payload := frame[wsframe.HeaderSize(frame):]
	wsframe.Mask(payload, h.Mask, 0)
	fmt.Println(h.Fin, h.Opcode == wsframe.Text, h.Length, string(payload))
	// Output: true true 5 Hello
}
