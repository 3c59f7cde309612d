//! Reading tract's nodes.

use tract_core::internal::*;
use tract_core::ops::cast::Cast;
use tract_core::ops::change_axes::AxisOp;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::identity::Identity;
use tract_core::ops::konst::Const;

use crate::encoder::onnx::fake_quantize::{FakeQuantize, Range};

/// A model, looked at.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) model: &'a TypedModel,
}

impl<'a> Look<'a> {
    pub(super) fn new(model: &'a TypedModel) -> Self {
        Self { model }
    }

    pub(super) fn node(&self, outlet: OutletId) -> &'a TypedNode {
        &self.model.nodes[outlet.node]
    }

    pub(super) fn op<T: TypedOp>(&self, outlet: OutletId) -> Option<&'a T> {
        self.node(outlet).op_as::<T>()
    }

    /// Name of the operator: `Add`, `Softmax`.
    pub(super) fn name(&self, outlet: OutletId) -> String {
        self.node(outlet).op().name().into_owned()
    }

    pub(super) fn inputs(&self, outlet: OutletId) -> &'a [OutletId] {
        &self.node(outlet).inputs
    }

    pub(super) fn shape(&self, outlet: OutletId) -> Option<Vec<usize>> {
        let fact = self.model.outlet_fact(outlet).ok()?;
        fact.shape.as_concrete().map(<[usize]>::to_vec)
    }

    /// The shape without axes of length 1 in front: rows and columns.
    pub(super) fn matrix(&self, outlet: OutletId) -> Option<(usize, usize)> {
        match self.shape(outlet)?[..] {
            [1, rows, width] | [rows, width] => Some((rows, width)),
            _ => None,
        }
    }

    /// A constant's floats.
    pub(super) fn floats(&self, outlet: OutletId) -> Option<(Vec<usize>, &'a [f32])> {
        let tensor = self.op::<Const>(outlet)?.val();
        let plain = tensor.try_as_plain_ram().ok()?;
        Some((tensor.shape().to_vec(), plain.as_slice::<f32>().ok()?))
    }

    pub(super) fn is_constant(&self, outlet: OutletId) -> bool {
        self.op::<Const>(outlet).is_some()
    }

    /// The one value of a constant that has only one.
    pub(super) fn scalar(&self, outlet: OutletId) -> Option<f32> {
        match self.floats(outlet)? {
            (_, [value]) => Some(*value),
            _ => None,
        }
    }

    /// The one whole number of a constant.
    pub(super) fn index(&self, outlet: OutletId) -> Option<i64> {
        let tensor = self.op::<Const>(outlet)?.val();
        (tensor.len() == 1).then_some(())?;
        tensor.cast_to_scalar::<i64>().ok()
    }

    /// Back through what changes no value and no order: casts of floats to floats, axes of length 1.
    pub(super) fn through(&self, mut outlet: OutletId) -> OutletId {
        loop {
            let node = self.node(outlet);
            let is_idle = match node.op_as::<AxisOp>() {
                Some(AxisOp::Add(_) | AxisOp::Rm(_)) => true,
                Some(_) => false,
                None => {
                    node.op_is::<Identity>()
                        || node.op_is::<Cast>()
                            && self.is_float(outlet)
                            && self.is_float(node.inputs[0])
                }
            };
            if !is_idle {
                return outlet;
            }
            outlet = node.inputs[0];
        }
    }

    fn is_float(&self, outlet: OutletId) -> bool {
        let fact = self.model.outlet_fact(outlet);
        fact.is_ok_and(|f| f.datum_type == f32::datum_type())
    }

    /// The inputs of a node of that name with two of them.
    pub(super) fn pair(&self, outlet: OutletId, name: &str) -> Option<[OutletId; 2]> {
        let outlet = self.through(outlet);
        if self.name(outlet) != name {
            return None;
        }
        match self.inputs(outlet) {
            [a, b] => Some([self.through(*a), self.through(*b)]),
            _ => None,
        }
    }

    /// Of such a node the constant and the other input, where one of them is constant.
    pub(super) fn with_constant(
        &self,
        outlet: OutletId,
        name: &str,
    ) -> Option<(OutletId, OutletId)> {
        let [a, b] = self.pair(outlet, name)?;
        match (self.is_constant(a), self.is_constant(b)) {
            (false, true) => Some((a, b)),
            (true, false) => Some((b, a)),
            _ => None,
        }
    }

    /// The only input of a node of that name.
    pub(super) fn only(&self, outlet: OutletId, name: &str) -> Option<OutletId> {
        let outlet = self.through(outlet);
        if self.name(outlet) != name {
            return None;
        }
        match self.inputs(outlet) {
            [one] => Some(self.through(*one)),
            _ => None,
        }
    }

    /// Letters of a product's axes: of its two inputs, and of what comes out.
    pub(super) fn letters(&self, outlet: OutletId) -> Option<[Vec<char>; 3]> {
        let product = self.op::<EinSum>(outlet)?;
        if product.q_params.is_some() || self.inputs(outlet).len() != 2 {
            return None;
        }
        let (inputs, outputs) = product.axes.to_strs();
        let letters = |s: &String| s.chars().collect();
        match (&inputs[..], &outputs[..]) {
            ([a, b], [out]) => Some([letters(a), letters(b), letters(out)]),
            _ => None,
        }
    }

    /// What is rounded before a product, and how.
    pub(super) fn unrounded(&self, outlet: OutletId) -> (OutletId, Option<Range>) {
        let outlet = self.through(outlet);
        match self.op::<FakeQuantize>(outlet) {
            Some(FakeQuantize(range)) => (self.through(self.inputs(outlet)[0]), Some(*range)),
            None => (outlet, None),
        }
    }
}

/// A node for messages: `node 7, Softmax`.
pub(super) fn node_words(node: &TypedNode) -> String {
    format!("node `{}` ({})", node.name, node.op().name())
}
