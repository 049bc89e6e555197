// What the installed package offers, to somebody who has nothing else.
import { Client, connectWeb, v1 } from "@banger/client";
import { connect } from "@banger/client/node";
import { VmState } from "@banger/client/v1";

const nobody = connect({ server: "http://127.0.0.1:9", deadlineMs: 1000 });
const error = await nobody.vms.listVms({}).then(
    () => "no error",
    (error) => error,
);
nobody.close();
if (error.kind !== "unreachable") throw new Error(`not unreachable: ${error}`);
if (VmState !== v1.VmState || !(connectWeb({ server: "http://x" }) instanceof Client)) {
    throw new Error("the parts of the package are not of one piece");
}
console.log("the package can be imported and used");
