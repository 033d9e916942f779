# The compiled module has the interface of the plain one. Type checkers need no other information.
from ringproto.transports._plain import Receiver as Receiver
from ringproto.transports._plain import SocketWriter as SocketWriter
